#pragma once

#include <optional>
#include <string>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/simulate/simulate.hpp"

namespace alpa {

/// A plan with the step programs of all its ranks, and what they need and take.
struct PricedPlan {
  Plan plan;
  Graph graph;
  std::vector<Program> programs;
  std::vector<ProgramTotals> totals;
  std::vector<Bytes> arenas;
  std::optional<Timeline> timeline;  ///< where the cluster's times are known
  [[nodiscard]] Bytes largest_arena() const;
};

/// Lowers the plan for every rank and, given a cluster, runs the programs in simulated time.
[[nodiscard]] PricedPlan price_plan(const RunConfig& config, Plan plan,
                                    const WorkspaceSize& workspace,
                                    const std::optional<ClusterSpec>& cluster, bool keep_spans);

/// Step time, rates, bubble and traffic from the timeline; nothing without one.
[[nodiscard]] std::optional<PredictedFigures> predicted_figures(const RunConfig& config,
                                                                const PricedPlan& priced);

/// Every method by hand on the cluster: its step time, or by how much it does not fit, or why there
/// is no such plan. In a fixed order.
[[nodiscard]] std::vector<ComparedMethod> compare_methods(const RunConfig& config,
                                                          const ClusterSpec& cluster,
                                                          Bytes capacity);
[[nodiscard]] std::string compare_table(const std::vector<ComparedMethod>& compared);

/// Chrome's trace format: a process per rank, a thread per queue, microseconds.
[[nodiscard]] std::string chrome_trace(const PricedPlan& priced);

}  // namespace alpa
