#pragma once

#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/inter_op/search.hpp"
#include "alpa/intra_op/stage_model.hpp"

#include "drafts.hpp"
#include "folded_plan.hpp"

namespace alpa {

/// What a search has on its desk: graphs and models made once, the best plan so far, counts of
/// work.
class SearchWork {
 public:
  explicit SearchWork(const SearchRequest& request);

  /// A desk of its own for another thread, with the graphs and options that are here so far: what
  /// is made on one is not seen on the other, and of the new one's progress nothing is told.
  /// @param stop asks for the end of what is done there
  [[nodiscard]] std::unique_ptr<SearchWork> beside(std::stop_token stop) const;

  [[nodiscard]] const SearchRequest& request() const { return request_; }
  [[nodiscard]] const ClusterSpec& cluster() const { return request_.cluster; }
  /// Asks for the best found so far: that of the request, or the one that was given beside it.
  [[nodiscard]] const std::stop_token& stop() const { return stop_; }
  [[nodiscard]] int devices() const { return devices_; }
  [[nodiscard]] int layers() const { return layers_; }

  /// Numbers of microbatches that may be chosen, ascending.
  [[nodiscard]] const std::vector<int>& microbatch_counts() const { return microbatch_counts_; }
  /// Numbers of stages that may be chosen: first and last.
  [[nodiscard]] std::pair<int, int> stage_counts() const { return stage_counts_; }
  /// Schedules that differ and may be chosen for so many stages and microbatches.
  [[nodiscard]] std::vector<PipelineKind> schedules(int stages, int microbatches) const;
  /// Depths of 1F1B to begin with: what is asked for, or the least.
  [[nodiscard]] std::vector<int> warm_up(int stages) const;
  /// Whether depths may be chosen.
  [[nodiscard]] bool deepens() const { return !request_.constraints.warm_up; }
  [[nodiscard]] std::vector<DeviceMesh> meshes(int devices) const;

  /// What the graphs hold of the line of layers.
  [[nodiscard]] const LayerLine& line() const { return line_; }

  /// From now on `graph` and `model` are those in which backward computes again what is said, by
  /// layer; empty: nothing. At first what request().recompute says.
  void recompute(std::vector<Recompute> of_layer) { recompute_ = std::move(of_layer); }
  [[nodiscard]] const std::vector<Recompute>& recompute() const { return recompute_; }
  /// The same for all layers.
  [[nodiscard]] std::vector<Recompute> everywhere(Recompute choice) const;

  /// As stage models need it: with the layers that `line` says.
  [[nodiscard]] const Graph& graph(int microbatches) { return graph(microbatches, recompute_); }
  [[nodiscard]] const Graph& graph(int microbatches, const std::vector<Recompute>& recompute);
  /// With all layers. Kept until another one is asked for.
  [[nodiscard]] const Graph& whole_graph(int microbatches, const std::vector<Recompute>& recompute);
  /// With the layers that a line keeps. Kept until another one is asked for.
  /// @param recompute of the line that is looked at
  [[nodiscard]] const Graph& graph_of(const LayerLine& line, int microbatches,
                                      const std::vector<Recompute>& recompute);
  [[nodiscard]] const Graph& graph_of(const FoldedPlan& folded);
  /// Of the whole line.
  [[nodiscard]] std::size_t operators(int microbatches);
  /// Makes the graphs of all numbers of microbatches that are missing, on several threads.
  void make_graphs(const std::vector<Recompute>& recompute);
  [[nodiscard]] const std::shared_ptr<const intra_op::GraphIndex>& index(int microbatches);
  [[nodiscard]] const MeshCosts& costs(int first_device, const DeviceMesh& mesh);
  [[nodiscard]] Bytes capacity(int first_device, const DeviceMesh& mesh);
  /// What a stage's figures may come to: the capacity less what packing is known to take on top.
  [[nodiscard]] Bytes room(int microbatches, int first_device, const DeviceMesh& mesh);
  /// Bytes that packing takes beyond figures; 0 at first.
  [[nodiscard]] Bytes packing(int microbatches) const;
  void packing(int microbatches, Bytes bytes) { packing_[microbatches] = bytes; }
  void forget_packing() { packing_.clear(); }
  [[nodiscard]] const StageModel& model(int microbatches, int first_device, const DeviceMesh& mesh);
  /// The same for layers of the graph that are computed again as is said.
  [[nodiscard]] const StageModel& model_of(int microbatches, int first_device,
                                           const DeviceMesh& mesh,
                                           std::vector<Recompute> of_graph_layer);

  [[nodiscard]] bool has_model(int microbatches, int first_device, const DeviceMesh& mesh);
  /// Takes a model that was made elsewhere.
  void add_model(int microbatches, int first_device, const DeviceMesh& mesh,
                 std::unique_ptr<StageModel> model);

  /// Of operators and tensors, for models.
  [[nodiscard]] const StageConstraints& stage_constraints() const {
    return request_.constraints.stage;
  }

  /// Prices and packs a plan; it becomes the best if it is the cheapest that fits.
  struct Offered {
    PlanPrice price;
    std::vector<Bytes> rooms;  ///< [stage] what there is
    std::vector<Bytes> over;   ///< [stage] what it needs more than there is; 0 where it fits
    bool fits = false;
  };
  Offered offer(const FoldedPlan& folded);
  /// Of one for all layers.
  Offered offer(const Plan& plan) { return offer(FoldedPlan{plan, LayerLine(layers_)}); }

  /// Looks at the memory of all devices of the best plan's stages, if that was not done. False if
  /// it does not fit: then there is no best plan, and each is looked at so from now on.
  [[nodiscard]] bool confirm_best();

  [[nodiscard]] bool has_best() const { return best_.has_value(); }
  [[nodiscard]] double best_time() const;
  /// The norm's part of every plan's price; 0 before the first one was priced.
  [[nodiscard]] double norm() const { return norm_; }
  [[nodiscard]] const std::optional<FoldedPlan>& best() const { return best_; }
  [[nodiscard]] const PlanPrice& best_price() const { return best_price_; }
  [[nodiscard]] std::optional<Bytes> least_memory() const { return least_memory_; }
  [[nodiscard]] const std::optional<FoldedPlan>& least_memory_plan() const {
    return least_memory_plan_;
  }
  /// The plan for all layers.
  [[nodiscard]] std::optional<Plan> unfold(const std::optional<FoldedPlan>& folded);
  /// Begins to make what `unfold` needs for a plan with so many microbatches, beside other work.
  void make_whole_graph_ahead(int microbatches);

  /// A problem was solved, for this question (so that distinct ones can be counted).
  void solved(const std::string& question, int problems = 1);
  /// True once the work is spent or the request asks to stop.
  [[nodiscard]] bool stopped();
  [[nodiscard]] const std::string& reason() const { return reason_; }
  [[nodiscard]] int problems() const { return static_cast<int>(problems_); }
  [[nodiscard]] int distinct() const { return static_cast<int>(questions_.size()); }

  void tell(const std::string& phase, double share);
  /// Adds clock time to a phase of the log while it lives.
  class Clock {
   public:
    Clock(SearchWork& work, const std::string& phase);
    ~Clock();
    Clock(const Clock&) = delete;
    Clock& operator=(const Clock&) = delete;

   private:
    SearchWork& work_;
    std::string outer_;
  };
  [[nodiscard]] std::vector<std::pair<std::string, Seconds>> phases();

 private:
  struct Beside {};
  SearchWork(const SearchWork& of, std::stop_token stop, Beside);
  [[nodiscard]] bool may_not_fit(const Graph& graph, const Offered& offered) const;
  void confirm(const Graph& graph, const FoldedPlan& folded, Offered& offered) const;
  /// Fills `rooms`, `over` and `fits` from the arenas.
  void compare_memory(const Plan& plan, Offered& offered) const;
  void switch_clock(const std::string& phase);
  void fold_line();

  const SearchRequest& request_;
  std::stop_token stop_;
  bool tells_ = true;  ///< progress
  int devices_ = 0;
  int layers_ = 0;
  LayerLine line_{0};
  std::vector<int> kept_;  ///< layers that graphs hold; empty: all
  bool hosts_alike_ = false;
  std::vector<int> microbatch_counts_;
  std::pair<int, int> stage_counts_;
  std::vector<Recompute> recompute_;
  /// Microbatches; what is computed again, by layer of the graph: empty if nothing.
  using GraphKey = std::pair<int, std::vector<Recompute>>;
  /// By layer of the graph, from what is said by layer of the line.
  [[nodiscard]] std::vector<Recompute> of_graph(const std::vector<Recompute>& of_line) const;
  [[nodiscard]] Graph make_graph(const GraphKey& key) const;
  [[nodiscard]] const Graph& held_graph(const GraphKey& key);
  [[nodiscard]] const std::shared_ptr<const intra_op::GraphIndex>& index_of(const GraphKey& key);
  std::map<GraphKey, std::shared_ptr<const Graph>> graphs_;
  std::optional<std::pair<GraphKey, Graph>> whole_graph_;
  struct WholeGraph {
    Graph graph;
    std::uint64_t hash = 0;  ///< its fingerprint
  };
  [[nodiscard]] WholeGraph make_whole_graph(int microbatches) const;
  std::optional<std::pair<int, std::future<WholeGraph>>> ahead_;  ///< by microbatches
  std::optional<std::tuple<GraphKey, LayerLine, Graph>> some_graph_;
  std::map<GraphKey, std::shared_ptr<const intra_op::GraphIndex>> indices_;
  std::shared_ptr<const intra_op::GraphIndex> first_index_;  ///< beside which the others are made
  std::map<std::pair<int, std::vector<int>>, std::unique_ptr<MeshCosts>> costs_;
  std::map<std::pair<GraphKey, std::string>, std::unique_ptr<StageModel>> models_;
  std::optional<FoldedPlan> best_, least_memory_plan_;
  PlanPrice best_price_;
  bool best_is_confirmed_ = false, confirms_at_once_ = false;
  double norm_ = 0.0;
  std::map<int, Bytes> packing_;
  std::optional<Bytes> least_memory_;
  std::int64_t problems_ = 0;
  std::set<std::string> questions_;
  std::string reason_ = "done";
  std::string clock_ = "other";
  double clock_since_ = 0.0;
  std::map<std::string, double> clocks_;
};

/// Refuses constraints that contradict each other, the model or the cluster.
/// @throws PlanError (configuration)
void check_constraints(const SearchRequest& request, int layers);

/// Whether a plan is one of those that the constraints leave.
[[nodiscard]] bool meets(const Plan& plan, const Graph& graph,
                         const SearchConstraints& constraints);

}  // namespace alpa
