#include "method_shape.hpp"

#include <algorithm>
#include <vector>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

MethodShape megatron_degrees(const ParallelConfig& parallel, int ranks) {
  MethodShape shape;
  shape.tensor = static_cast<int>(parallel.tensor.value_or(1));
  const std::int64_t stages = parallel.stages.value_or(stages_of_depths(parallel).value_or(1));
  shape.pipeline = static_cast<int>(parallel.pipeline.value_or(stages));
  shape.data = static_cast<int>(
      parallel.data.value_or(std::max(1, ranks / (shape.tensor * shape.pipeline))));
  if (shape.data * shape.tensor * shape.pipeline != ranks) {
    throw PlanError("parallel: data " + std::to_string(shape.data) + " x tensor " +
                    std::to_string(shape.tensor) + " x pipeline " + std::to_string(shape.pipeline) +
                    " = " + std::to_string(shape.data * shape.tensor * shape.pipeline) +
                    " ranks, found " + std::to_string(ranks) +
                    ": start as many ranks, or change the degrees");
  }
  return shape;
}

MethodShape unconstrained(const MethodRequest& request) {
  const int ranks = request.world_size;
  MethodShape shape;
  shape.data = ranks;
  switch (request.parallel.method) {
    case Method::data:
      return shape;
    case Method::zero1:
      shape.zero = 1;
      return shape;
    case Method::zero2:
      shape.zero = 2;
      return shape;
    case Method::zero3:
      shape.zero = 3;
      return shape;
    case Method::megatron:
      return megatron_degrees(request.parallel, ranks);
    case Method::intra_only:
      while (shape.tensor * 2 * shape.tensor * 2 <= ranks && ranks % (shape.tensor * 2) == 0) {
        shape.tensor *= 2;
      }
      shape.data = ranks / shape.tensor;
      return shape;
    case Method::inter_only:
      shape.data = 1;
      shape.pipeline = ranks;
      shape.balance_flops = true;
      return shape;
    case Method::pipedream:
      shape.data = 1;
      shape.pipeline = ranks;
      return shape;
    case Method::heuristic:
      shape.heuristic = true;
      return shape;
    case Method::automatic:
      throw PlanError("parallel.method: auto: not a plan by hand");
    case Method::plan:
      throw PlanError("parallel.method: plan: name the file with parallel.plan or --plan FILE");
  }
  check_failed("known method", SourceLine::here());
}

void check_constraints(const ParallelConfig& parallel, const MethodShape& shape) {
  if (parallel.stages && *parallel.stages != shape.pipeline) {
    throw PlanError("parallel.stages: found " + std::to_string(*parallel.stages) + ", method " +
                    std::string(name_of(parallel.method)) + " makes " +
                    std::to_string(shape.pipeline));
  }
  if (shape.pipeline < fewest_stages(parallel)) {
    throw PlanError("parallel.schedule: " + std::string(name_of(parallel.schedule)) +
                    " needs at least 2 stages, method " + std::string(name_of(parallel.method)) +
                    " makes 1");
  }
  if (!parallel.logical_mesh) return;
  const DeviceMesh mesh = mesh_of(shape);
  const std::vector<int> wanted(parallel.logical_mesh->begin(), parallel.logical_mesh->end());
  if (wanted == mesh.extents) return;
  throw PlanError("parallel.logical_mesh: method " + std::string(name_of(parallel.method)) +
                  " makes [" + std::to_string(mesh.extents.front()) +
                  (mesh.extents.size() > 1 ? ", " + std::to_string(mesh.extents[1]) : "") +
                  "]; leave it to auto or change the degrees");
}

}  // namespace

MethodShape shape_of_method(const MethodRequest& request) {
  const MethodShape shape = unconstrained(request);
  check_constraints(request.parallel, shape);
  return shape;
}

std::optional<std::int64_t> stages_of_depths(const ParallelConfig& parallel) {
  if (!parallel.warm_up) return std::nullopt;
  const auto* list = std::get_if<std::vector<std::int64_t>>(&*parallel.warm_up);
  if (list == nullptr) return std::nullopt;
  return static_cast<std::int64_t>(list->size());
}

int fewest_stages(const ParallelConfig& parallel) {
  const bool between = parallel.schedule == PipelineSchedule::interleaved ||
                       parallel.schedule == PipelineSchedule::zero_bubble;
  return between ? 2 : 1;
}

DeviceMesh mesh_of(const MethodShape& shape) {
  if (shape.data > 1 && shape.tensor > 1) return {{shape.data, shape.tensor}};
  return {{shape.data * shape.tensor}};
}

HandAxes axes_of(const MethodShape& shape) {
  HandAxes axes;
  if (shape.heuristic) {
    if (shape.data > 1) axes.largest = 0;
    return axes;
  }
  if (shape.data > 1) axes.data = 0;
  if (shape.tensor > 1) axes.tensor = shape.data > 1 ? 1 : 0;
  axes.zero = shape.zero;
  return axes;
}

}  // namespace alpa
