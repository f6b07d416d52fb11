#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/config/parallel_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/intra_op/stage_model.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/simulate/price.hpp"

namespace alpa {

/// What is fixed from outside; the rest is searched. Unset: free.
struct SearchConstraints {
  std::optional<int> microbatches, stages;
  std::optional<std::vector<int>> logical_mesh;  ///< of every stage
  std::optional<PipelineKind> schedule;
  std::optional<WarmUpDepth> warm_up;  ///< of 1F1B, which is the schedule then
  StageConstraints stage;              ///< of operators and tensors
  std::optional<Plan> plan;            ///< everything as in this plan
};

struct SearchRequest {
  /// Without recomputation; several threads may call it at once.
  std::function<Graph(std::int64_t microbatch)> graph;
  /// The same with some layers of the line alone, ascending; and kinds of all layers, of which
  /// equal ones are built alike. Where both are given, the search looks at few of many equal
  /// layers.
  std::function<Graph(std::int64_t microbatch, const std::vector<int>& layers)> graph_of_layers =
      {};
  std::vector<int> layer_kinds = {};
  /// Of every layer. Unset: the best of all three.
  std::optional<Recompute> recompute = {};
  std::int64_t global_batch = 1;
  std::int64_t samples_of_group = 1;  ///< microbatches hold a multiple of so many
  ClusterSpec cluster;
  std::optional<Bytes> memory_limit;  ///< per device; else what each device's kind holds
  WorkspaceSize workspace;
  SearchConstraints constraints;
  /// Whether the best pipeline is tried interleaved and zero-bubble too.
  bool more_schedules = true;
  std::vector<Plan> seeds;  ///< priced first, so that the answer is never worse
  std::int64_t effort = 0;  ///< units of work (problems solved); 0: the default
  std::stop_token stop;     ///< asks for the best found so far
  /// Told now and then, from the calling thread: what is being done, share done, best so far.
  std::function<void(const std::string& phase, double share, std::optional<Seconds> best)> progress;
  StageRecorder record;  ///< of the integer programs that are solved; may be empty
};

struct SearchResult {
  std::optional<Plan> plan;  ///< method "auto"; none: nothing fits
  PlanPrice price;
  /// Of every plan in the declared space, seconds; where the plan is under another schedule: of
  /// those too.
  double lower_bound = 0.0;
  int ilp_problems = 0;
  int distinct_subproblems = 0;
  std::string stopped = "done";  ///< done | work | time
  /// Where nothing fits: the least bytes that any plan found needs, and that plan.
  std::optional<Bytes> least_memory;
  std::optional<Plan> least_memory_plan;
  std::vector<std::pair<std::string, Seconds>> phases;  ///< clock time, for the log alone
  [[nodiscard]] double gap() const;                     ///< 1 - lower_bound / price, not below 0
};

/// Finds the plan of least `price` whose packed arenas fit. Declared space: any number of
/// microbatches that divides the batch; GPipe and 1F1B with any warm-up of S - s to 2(S - s) - 1
/// forwards, non-increasing over the stages; stages of consecutive layers on consecutive
/// devices (any number inside a host, whole hosts beyond), idle devices allowed at the end; logical
/// meshes of one and two axes; every strategy of every rule; parameters gathered once a step or for
/// each use; recomputation as the request says. Beside that
/// space the best pipeline is tried interleaved and zero-bubble. Deterministic unless stopped by
/// time.
/// @throws PlanError (configuration) for constraints that contradict each other or the cluster
[[nodiscard]] SearchResult search(const SearchRequest& request);

/// Whether a plan of stages of equal size meets the constraints, memory and time aside. True where
/// `stop` came before the answer.
/// @throws PlanError (configuration) as `search`
[[nodiscard]] bool has_plan(const SearchRequest& request);

/// The constraints that leave exactly this plan.
[[nodiscard]] SearchConstraints constraints_of(const Plan& plan);

}  // namespace alpa
