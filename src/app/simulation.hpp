#pragma once

#include <string>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/simulate/simulate.hpp"

namespace alpa {

/// The step programs of all ranks and their time line.
struct SimulatedPlan {
  std::vector<Program> programs;
  Timeline timeline;
};

/// Lowers the plan for every rank and runs the programs in simulated time.
/// @pre the cluster has links: no `axes`
[[nodiscard]] SimulatedPlan simulate_plan(const Graph& graph, const Plan& plan,
                                          const WorkspaceSize& workspace,
                                          const ClusterSpec& cluster);

/// The makespan and the share in which a device runs no kernel, in one line.
[[nodiscard]] std::string simulated_text(const SimulatedPlan& simulated);

/// Chrome's trace format: a process per rank, a thread per queue, microseconds.
[[nodiscard]] std::string chrome_trace(const SimulatedPlan& simulated);

}  // namespace alpa
