#pragma once

#include <vector>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/graph/kernel_work.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/program/program.hpp"

namespace alpa {

[[nodiscard]] KernelWork work_of(const RunKernel& run);

/// Axes of the stage's mesh along which the group lies: those in which its members differ.
/// @pre the world ranks are of the stage
[[nodiscard]] std::vector<MeshAxis> axes_of_group(const StagePlan& stage,
                                                  const std::vector<int>& group);

[[nodiscard]] Seconds collective_time(const Collective& c, const std::vector<MeshAxis>& axes,
                                      const MeshCosts& costs);

/// True for the sum of loss and norm over all ranks, which ends a step.
[[nodiscard]] bool is_world_reduction(const Collective& c, const Program& program);

/// All-reduce over all devices; free where the cluster prices logical meshes directly.
[[nodiscard]] Seconds world_reduction_time(const ClusterSpec& cluster, int world_size, Bytes size);

}  // namespace alpa
