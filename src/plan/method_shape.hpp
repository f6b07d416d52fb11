#pragma once

#include "alpa/cluster/mesh.hpp"
#include "alpa/plan/methods.hpp"

#include "hand_strategies.hpp"

namespace alpa {

/// How a method by hand arranges the ranks: data x tensor x pipeline of them.
struct MethodShape {
  int data = 1, tensor = 1, pipeline = 1;
  int zero = 0;  ///< stage of ZeRO on the data axis, 0 to 3
  bool heuristic = false;
  bool balance_flops = false;  ///< of the stages; else their numbers of layers
};

/// The one shape of the request's method; of megatron that of the degrees given, by default
/// pipeline 1, tensor 1, data what remains.
/// @throws PlanError (configuration) for degrees that do not make the ranks, for methods that are
///         no plans by hand, for constraints that the shape does not meet
[[nodiscard]] MethodShape shape_of_method(const MethodRequest& request);

/// 2 with schedules that only make sense between stages.
[[nodiscard]] int fewest_stages(const ParallelConfig& parallel);

/// Stages that a list of depths is for.
[[nodiscard]] std::optional<std::int64_t> stages_of_depths(const ParallelConfig& parallel);

/// The logical mesh of each stage. The data axis comes first, so that tensor groups are neighbours.
[[nodiscard]] DeviceMesh mesh_of(const MethodShape& shape);

/// What the axes of that mesh do.
[[nodiscard]] HandAxes axes_of(const MethodShape& shape);

}  // namespace alpa
