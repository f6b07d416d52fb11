#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"
#include "alpa/solver/problem.hpp"

#include "account.hpp"

namespace alpa::intra_op {

/// How much of a tensor's copies in a layout each reader pays. They cost no less than any mean over
/// the readers of what these want; at first all pay the same. Where the source is partial, all
/// always do: one reduction in place may be part of the copies in several layouts.
class CopyShares {
 public:
  /// @param flow of a run  @param reader of the flow
  [[nodiscard]] double of(const RunView& view, std::size_t flow, std::size_t reader,
                          int layout) const;

  /// Moves shares towards the readers who want copies under a choice, by `step` of the way. False
  /// if all pay in full.
  bool lean(const RunContext& run, const std::vector<int>& choice, double step);

 private:
  std::map<std::pair<std::size_t, int>, std::vector<double>> shares_;  ///< [reader]
};

/// A relaxed problem: no choice for the layers of the run, whatever stage they are part of,
/// whatever its other layers choose, costs less than its optimum.
///
/// One node per operator and edges between makers and readers alone. A tensor's copies cost no less
/// than a mean over its readers; of a weight each reader may choose by itself whether the copy is
/// made once a step or for each use. What comes from other layers is there in any layout; what goes
/// to others costs what the cheapest layout costs that they can take. Bytes kept from forward to
/// backward are those of the source or of what backward reads, whichever are less; nothing is
/// counted that lives within a phase.
class BoundProblem {
 public:
  /// What hangs on no weight is found here. Keeps references to the graph and the options.
  /// @param joined also of plans whose microbatches are up to kMostJoined equal parts of these
  BoundProblem(const Graph& graph, const OperatorOptions& options, RunView view,
               int num_microbatches, const Uses& uses, const StageConstraints& constraints,
               bool joined);
  BoundProblem(const BoundProblem&) = delete;
  BoundProblem& operator=(const BoundProblem&) = delete;

  [[nodiscard]] const RunContext& run() const { return run_; }
  /// Whether some operator has no option.
  [[nodiscard]] bool contradicts() const;
  [[nodiscard]] Problem with(const StageWeights& weights, const CopyShares& shares) const;

 private:
  friend class BoundBuilder;
  /// What costs are multiplied with.
  enum class Unit : std::uint8_t {
    prepare,
    forward,
    backward,
    reduce,
    update,
    state_byte,
    stash_byte,
    microbatch,  ///< seconds of forward or backward, whichever weigh less
    count,
  };
  /// Copies of a tensor for one of its readers, between options that agree about it.
  struct Copies {
    std::size_t flow = 0, reader = 0;
    bool weight = false;
    Phase phase = Phase::forward;
    std::vector<int> row_of;     ///< [option of the maker]; one alone: stored whole
    std::vector<int> column_of;  ///< [option of the reader]
    double share = 1.0;          ///< of a copy, if all who may read it pay the same
    double readers = 1.0, in_scope = 0.0, in_microbatch = 0.0, in_backward = 0.0;
    std::vector<Retention> retentions;  ///< of a weight
    bool stashes = false;
    int from = -1, to = -1;  ///< nodes; from -1: costs of the reader's node alone
    struct Source {
      double bytes = 0.0;
      double held = 0.0;  ///< bytes of a replica that microbatches read
      bool partial = false;
    };
    struct Target {
      int layout = 0;
      double bytes = 0.0, placed = 0.0;
    };
    std::vector<Source> sources;            ///< [row]
    std::vector<Target> targets;            ///< layouts that are wanted
    std::vector<std::vector<int>> columns;  ///< targets that are wanted together
    std::vector<double> seconds;            ///< [source, target]; negative: it is there
    std::vector<bool> reads;                ///< the same: values of the source
  };
  using Weights = std::array<double, static_cast<std::size_t>(Unit::count)>;

  /// Of a copy that is no less than all that are wanted together.
  struct Copied {
    double seconds = 0.0;
    double placed = 0.0, kept = 0.0;  ///< bytes
    bool as_it_is = false;            ///< the source is wanted, too
  };
  [[nodiscard]] static Copied copied(const Copies& of, std::size_t source,
                                     const std::vector<int>& targets,
                                     const std::vector<double>& shares);
  [[nodiscard]] static double weight_cost(const Copies& of, const Copies::Source& source,
                                          const Copied& copied, const Weights& weights);
  [[nodiscard]] static double cost_of(const Copies& of, const Copies::Source& source,
                                      const Copied& copied, const Weights& weights);

  RunView view_;
  RunContext run_;
  std::vector<std::size_t> sizes_;                              ///< [node] options
  std::map<std::pair<int, Unit>, std::vector<double>> linear_;  ///< by node: [option]
  std::vector<Copies> copies_;
};

}  // namespace alpa::intra_op
