#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/base/recompute.hpp"
#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/simulate/price.hpp"
#include "alpa/solver/solve.hpp"

namespace alpa {

/// Microbatches that one of a multiple of their size may stand for in bounds: a power of two.
inline constexpr int kMostJoined = 8;

/// Which strategies an operator may take on a mesh; nothing: all of its rule. An empty list is a
/// contradiction: the stage has no plan.
using AllowedStrategies =
    std::function<std::optional<std::vector<Strategy>>(const Operator&, const DeviceMesh&)>;
/// Which retentions a tensor may have; nothing: all (step and repeat for parameters and replicas,
/// keep for the rest).
using AllowedRetentions = std::function<std::optional<std::vector<Retention>>(const Tensor&)>;

struct StageConstraints {
  AllowedStrategies strategies;  ///< may be unset
  AllowedRetentions retentions;  ///< may be unset
};

/// What is minimised: the sum of these weights times the figures of the stage.
struct StageWeights {
  double forward = 1.0, backward = 1.0;              ///< microbatches, as a rule
  double prepare = 1.0, reduce = 1.0, update = 1.0;  ///< once a step
  double state_byte =
      0.0;  ///< price of a byte that lives all step (parameters, gradients, optimizer)
  double stash_byte = 0.0;  ///< of a byte kept from forward to backward, for one microbatch
};

struct StageQuestion {
  int first_layer = 0, last_layer = 0;
  StageWeights weights = {};
  /// Limit of state + in_flight * stash + transient, as `StageFigures` counts them. Where that
  /// needs choices to be passed over that the program takes to fit, `lower_bound` is of all those.
  std::optional<Bytes> memory = {};
  int in_flight = 1;
  /// Without: the answer has no names; `StageModel::name` gives them.
  bool named = true;
  /// Identical layers take identical strategies: far smaller problems, and a restriction, so that
  /// `lower_bound` holds for tied choices only.
  bool tied = false;
  /// All that read a tensor in forward and backward take it in one layout: far smaller problems,
  /// and a restriction as well. Where that leaves no choice, it is dropped if `or_several`.
  bool one_layout = false;
  bool or_several = true;
  SolveLimits limits = {};
};

/// Sums over operators, deliveries and moves of the last device, as `price` would find them in the
/// lowered program, never more: left out are the packing and unpacking of messages, copies of
/// inputs that only a second operator wants partial, and copies made again to be sent. Memory is
/// what must be there in any packing of the device that holds most: in `transient`, a value lives
/// until the last kernel that reads it and the copies of it are made (on the last device too where
/// that one adds zeros instead), but without what redistributions take while they run. What
/// microbatches exchange with other stages is counted only where it is kept for backward (the rest
/// is in lowering/border.hpp).
struct StageFigures {
  StageTimes times;
  Bytes state;      ///< lives all step
  Bytes stash;      ///< for each microbatch in flight
  Bytes transient;  ///< most at one time, within a segment
  Bytes reduced;    ///< of `transient`, between reduce and update: adds up over layers
  friend bool operator==(const StageFigures&, const StageFigures&) = default;
};
[[nodiscard]] double weighted(const StageFigures& figures, const StageWeights& weights);

namespace intra_op {
class BoundProblem;
class CopyShares;
class StageProblem;
struct GraphIndex;
struct LayerChoices;
struct RunContext;
}  // namespace intra_op

/// What bounds of a run of layers have found that makes others of the same closer and faster,
/// whatever their weights. For one model, as long as that lives.
struct BoundHints {
  std::shared_ptr<const intra_op::BoundProblem> problem;
  std::shared_ptr<const intra_op::CopyShares> shares;
  int rounds = 0;  ///< in which they were found
};

/// Layers that choose as a model has answered for them or for equal ones, whatever was computed
/// again there.
struct ChosenLayers {
  int first = 0, last = 0;
  std::shared_ptr<const intra_op::LayerChoices> as;
  Recompute recompute = Recompute::none;  ///< of these layers
};

/// An answer of a StageModel: a choice for every operator of the layers.
struct StageAnswer {
  std::vector<ChosenLayers> parts;             ///< what is chosen; empty after `evaluate`
  std::map<std::string, Strategy> strategies;  ///< by name, if asked for
  std::map<std::string, Retention> retention;  ///< by name, where it is not the default
  StageFigures figures;
  std::vector<StageFigures> by_layer;  ///< transient: of the layer; moves count to the consumer's
  /// Layouts in which tensors enter from layers before and leave to layers after (by name), for
  /// telling answers apart that neighbours would price differently.
  std::string borders;
  double cost = 0.0;         ///< weighted
  double lower_bound = 0.0;  ///< of the cost of every choice that the question allows
  Proof proof = Proof::bounded;
  bool stopped = false;
  int core_nodes = 0;
};

/// What is alike in a graph, found once for the models of all meshes.
/// @param beside of a graph whose models are for the same cluster: what is found out about layouts
///   on its meshes is shared; may be null
[[nodiscard]] std::shared_ptr<const intra_op::GraphIndex> index_of(
    const Graph& graph, const intra_op::GraphIndex* beside = nullptr);
/// The same of a graph that holds only some layers of a line. Its models are asked about layers of
/// the line: tied, or so few that the graph holds each of them.
[[nodiscard]] std::shared_ptr<const intra_op::GraphIndex> index_of(
    const Graph& graph, const LayerLine& line, const intra_op::GraphIndex* beside = nullptr);
/// The same of a graph whose layers are not all computed again alike. Its models are asked for
/// `joined` answers, or about layers that the graph holds one by one.
/// @param alike of the graph in which they are
[[nodiscard]] std::shared_ptr<const intra_op::GraphIndex> mixed_index_of(
    const Graph& graph, const intra_op::GraphIndex& alike);

/// Told of every integer program that a model solves: the question in words, the program and what
/// came out. Threads may call it at once.
using StageRecorder = std::function<void(const std::string& question, const Problem& problem,
                                         const Solution& solution)>;

/// The options that a mesh has for the operators of a graph, with their times and bytes, and the
/// moves between them. Built once for a mesh, then asked for any run of layers. Immutable; threads
/// may ask at once.
///
/// One node per operator (its strategies), one edge per tensor with one consumer (the moves from
/// the layout it is made in to the one it is wanted in), and for a tensor with several consumers
/// one node for each layout that could be wanted, made or not, so that each layout is paid for
/// once.
class StageModel {
 public:
  /// @param graph of one microbatch; kept by reference
  /// @param index of the graph; made if null
  /// @param record of what `solve` solves; may be empty
  StageModel(const Graph& graph, const MeshCosts& costs, int num_microbatches,
             const StageConstraints& constraints,
             std::shared_ptr<const intra_op::GraphIndex> index = nullptr,
             StageRecorder record = {});
  ~StageModel();
  StageModel(StageModel&&) noexcept;
  StageModel& operator=(StageModel&&) noexcept;

  /// The best choice; nothing if none is allowed and fits.
  [[nodiscard]] std::optional<StageAnswer> solve(const StageQuestion& question) const;

  /// No choice that is allowed and fits costs less: what bounds tell long before `solve` has found
  /// one. kForbidden if there is none.
  [[nodiscard]] double least_cost(const StageQuestion& question) const;

  /// An answer to the same question about the layers from `first_layer` on.  @pre the answer has
  /// parts; each of its layers is of one class with the one that is as far from the first
  [[nodiscard]] StageAnswer moved(const StageAnswer& answer, int first_layer,
                                  const StageWeights& weights) const;

  /// The `count` best choices in order of cost, exactly, those that differ only in deliveries once
  /// (Lawler 1972). Fewer if there are no more.
  [[nodiscard]] std::vector<StageAnswer> best(const StageQuestion& question, int count) const;

  /// Every choice that is allowed, without regard to weights or memory; nothing if there are more
  /// than `limit` of them.
  [[nodiscard]] std::optional<std::vector<StageAnswer>> all(int first_layer, int last_layer,
                                                            std::size_t limit) const;

  /// Figures for strategies and retention that are given by the names of the graph, e.g. of a plan
  /// by hand: layers that it does not hold choose as those that they are like.
  [[nodiscard]] StageAnswer evaluate(int first_layer, int last_layer, const StagePlan& stage,
                                     const StageWeights& weights) const;

  /// Whether layers that are like one another choose alike; what `evaluate` asks for where the
  /// graph holds only some of them.
  [[nodiscard]] bool chooses_alike(int first_layer, int last_layer, const StagePlan& stage) const;

  /// No choice of these layers costs less, in whatever stage on this mesh they are: weighted
  /// seconds and bytes, those of the whole step and those that live within a phase left out. Layers
  /// that follow one another may be asked about one by one or together; the sum holds for all of
  /// them.
  /// @param rounds times that the relaxation is solved and then made closer
  /// @param joined it holds for plans too whose microbatches are up to kMostJoined equal parts of
  /// these, in weights by microbatch of these
  /// @param hints from earlier bounds of the same layers, for these and later ones
  [[nodiscard]] double bound(int first_layer, int last_layer, const StageWeights& weights,
                             const SolveLimits& limits, int rounds = 1, bool joined = false,
                             BoundHints* hints = nullptr) const;

  /// The answer in which the layers of a run choose as parts say that cover it, parts of answers of
  /// models on this mesh for these or equal layers: two at most, where the graph holds only some
  /// layers.
  /// @pre the graph computes again what the parts say in the layers of it that are seen
  [[nodiscard]] StageAnswer joined(int first_layer, int last_layer,
                                   const std::vector<ChosenLayers>& parts,
                                   const StageWeights& weights) const;

  /// Where layers first..last follow two parts, the layer of the graph that is the first to be seen
  /// of the second part, layers `split` and on; those of the first part are before it.
  [[nodiscard]] int seen_split(int first_layer, int last_layer, int split) const;

  /// Fills the strategies and the retention of an answer that has none, by the names of a graph
  /// that holds all layers of the line.
  void name(StageAnswer& answer, const Graph& whole) const;
  /// The same of a graph that holds these of them, ascending.
  void name(StageAnswer& answer, const Graph& some, const std::vector<int>& layers) const;

  /// Numbers of the layers of an answer that has parts, equal where layers of one class choose
  /// alike.
  [[nodiscard]] std::vector<int> kinds_of_choices(const StageAnswer& answer) const;

  /// The strategy that an operator of the graph, in that layer of the line, takes in an answer that
  /// has parts.
  [[nodiscard]] const Strategy& strategy(const StageAnswer& answer, int op, int layer) const;

  /// The integer program of a question, unreduced, with the names of nodes and options.
  struct NamedProblem {
    Problem problem;
    std::vector<std::string> nodes;
    std::vector<std::vector<std::string>> options;
  };
  [[nodiscard]] NamedProblem problem(const StageQuestion& question) const;

  /// Class of each layer of the line: layers of one class have the same operators, shapes and
  /// connections.
  [[nodiscard]] const std::vector<int>& layer_classes() const;

 private:
  [[nodiscard]] StageAnswer evaluate_seen(const intra_op::RunContext& run, const StagePlan& stage,
                                          const StageWeights& weights) const;
  /// @param built for the question but for its prices of bytes; may be null
  [[nodiscard]] std::optional<StageAnswer> solve_seen(
      const StageQuestion& question, const intra_op::RunContext& run,
      intra_op::StageProblem* built = nullptr) const;
  friend class PricedQuestion;
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

/// A question that is asked at one price of bytes after the other: what does not hang on them is
/// found once.
class PricedQuestion {
 public:
  /// @param model kept by reference
  /// @param question with one layout and without a limit of memory; its prices do not count
  PricedQuestion(const StageModel& model, StageQuestion question);
  ~PricedQuestion();
  PricedQuestion(PricedQuestion&&) noexcept;
  PricedQuestion& operator=(PricedQuestion&&) = delete;

  /// What the model answers at these prices.
  [[nodiscard]] std::optional<StageAnswer> solve(double state_byte, double stash_byte);

 private:
  struct Built;
  const StageModel& model_;
  StageQuestion question_;
  std::unique_ptr<Built> built_;
};

}  // namespace alpa
