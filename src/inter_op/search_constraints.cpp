#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/plan/methods.hpp"

#include "search_work.hpp"

namespace alpa {
namespace {

std::string text_of(const std::vector<int>& extents) {
  std::string text = "[";
  for (std::size_t i = 0; i < extents.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(extents[i]);
  }
  return text + "]";
}

/// Most stages of a size that find room one after the other.
int most_places(const ClusterSpec& cluster, int size) {
  const int devices = num_devices(cluster);
  int places = 0;
  for (int d = 0; d < devices;) {
    const auto sizes = submesh_sizes(cluster, d);
    if (std::find(sizes.begin(), sizes.end(), size) == sizes.end()) break;
    d += size;
    ++places;
  }
  return places;
}

void check_mesh(const SearchConstraints& constraints, const ClusterSpec& cluster) {
  const std::vector<int>& extents = *constraints.logical_mesh;
  const std::string where = "parallel.logical_mesh: found " + text_of(extents);
  if (extents.empty() || extents.size() > 2 ||
      std::any_of(extents.begin(), extents.end(), [](int n) { return n < 1; })) {
    throw PlanError(where + ", expected one or two extents of at least 1");
  }
  std::int64_t size = 1;
  for (const int n : extents) size *= n;
  const int devices = num_devices(cluster);
  if (size > devices) {
    throw PlanError(where + ": that is " + std::to_string(size) + " devices, the cluster has " +
                    std::to_string(devices));
  }
  const int places = most_places(cluster, static_cast<int>(size));
  if (places == 0) {
    throw PlanError(where + ": no run of " + std::to_string(size) +
                    " devices from the first one on lies inside a host or takes whole hosts");
  }
  if (constraints.stages && *constraints.stages > places) {
    throw PlanError(where + " and parallel.stages " + std::to_string(*constraints.stages) +
                    ": the cluster has room for " + std::to_string(places) + " such meshes");
  }
}

void check_warm_up(const SearchConstraints& constraints) {
  if (!constraints.warm_up) return;
  const std::string where = "parallel.warm_up: found " + to_string(*constraints.warm_up);
  if (constraints.schedule && *constraints.schedule != PipelineKind::one_f_one_b) {
    throw PlanError(where + ", only schedule 1f1b has a depth to choose");
  }
  if (!std::holds_alternative<std::vector<std::int64_t>>(*constraints.warm_up)) return;
  if (!constraints.stages) {
    throw PlanError(where + ", expected parallel.stages with a list of depths");
  }
  (void)warm_up_of(*constraints.warm_up, *constraints.stages);
}

void check_plan(const SearchConstraints& constraints, const ClusterSpec& cluster) {
  const Plan& plan = *constraints.plan;
  if (plan.world_size != num_devices(cluster)) {
    throw PlanError("plan: it is for " + std::to_string(plan.world_size) +
                    " devices, the cluster has " + std::to_string(num_devices(cluster)));
  }
  const auto stages = static_cast<int>(plan.stages.size());
  if (constraints.stages && *constraints.stages != stages) {
    throw PlanError("parallel.stages: found " + std::to_string(*constraints.stages) +
                    ", the plan has " + std::to_string(stages));
  }
  if (constraints.microbatches && *constraints.microbatches != plan.num_microbatches) {
    throw PlanError("parallel.microbatches: found " + std::to_string(*constraints.microbatches) +
                    ", the plan has " + std::to_string(plan.num_microbatches));
  }
  if (constraints.schedule && *constraints.schedule != plan.schedule) {
    throw PlanError("parallel.schedule: found " + to_string(*constraints.schedule) +
                    ", the plan has " + to_string(plan.schedule));
  }
  for (const StagePlan& stage : plan.stages) {
    if (constraints.logical_mesh && *constraints.logical_mesh != stage.mesh.extents) {
      throw PlanError("parallel.logical_mesh: found " + text_of(*constraints.logical_mesh) +
                      ", a stage of the plan has " + text_of(stage.mesh.extents));
    }
  }
}

}  // namespace

void check_constraints(const SearchRequest& request, int layers) {
  const SearchConstraints& constraints = request.constraints;
  if (request.global_batch % request.samples_of_group != 0) {
    throw PlanError("training.global_batch: found " + std::to_string(request.global_batch) +
                    ", expected a multiple of the " + std::to_string(request.samples_of_group) +
                    " samples of a group");
  }
  const auto check_divides = [&](const std::string& what, std::int64_t count) {
    check_microbatches(what, count, request.global_batch, request.samples_of_group);
  };
  if (constraints.microbatches) check_divides("parallel.microbatches", *constraints.microbatches);
  if (constraints.stages) {
    const int stages = *constraints.stages;
    const std::string where = "parallel.stages: found " + std::to_string(stages);
    if (stages < 1) throw PlanError(where + ", expected at least 1");
    if (stages > layers) {
      throw PlanError(where + ", the model has " + std::to_string(layers) + " layers");
    }
    if (stages > num_devices(request.cluster)) {
      throw PlanError(where + ", the cluster has " + std::to_string(num_devices(request.cluster)) +
                      " devices");
    }
  }
  if (constraints.logical_mesh) check_mesh(constraints, request.cluster);
  check_warm_up(constraints);
  if (constraints.plan) {
    check_divides("plan: microbatches", constraints.plan->num_microbatches);
    check_plan(constraints, request.cluster);
  }
}

namespace {

bool has_depth(const Plan& plan, const WarmUpDepth& depth) {
  if (plan.schedule != PipelineKind::one_f_one_b) return false;
  try {
    const auto stages = static_cast<int>(plan.stages.size());
    return draft_of(plan).warm_up == warm_up_of(depth, stages);
  } catch (const PlanError&) {  // a list for another number of stages
    return false;
  }
}

}  // namespace

bool meets(const Plan& plan, const Graph& graph, const SearchConstraints& constraints) {
  if (constraints.plan) return plan == *constraints.plan;
  if (constraints.microbatches && *constraints.microbatches != plan.num_microbatches) return false;
  if (constraints.stages && *constraints.stages != static_cast<int>(plan.stages.size())) {
    return false;
  }
  if (constraints.schedule && *constraints.schedule != plan.schedule) return false;
  if (constraints.warm_up && !has_depth(plan, *constraints.warm_up)) return false;
  for (const StagePlan& stage : plan.stages) {
    if (constraints.logical_mesh && *constraints.logical_mesh != stage.mesh.extents) return false;
  }
  const auto allowed = [](const auto& choices, const auto& choice) {
    return !choices || std::find(choices->begin(), choices->end(), choice) != choices->end();
  };
  for (const Operator& op : graph.operators) {
    if (!constraints.stage.strategies) break;
    if (op.copy_of.valid()) continue;  // as the operator it repeats
    const StagePlan& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, op.layer))];
    if (!allowed(constraints.stage.strategies(op, stage.mesh), stage.strategies.at(op.name))) {
      return false;
    }
  }
  for (const Tensor& tensor : graph.tensors) {
    if (!constraints.stage.retentions) break;
    const StagePlan& stage =
        plan.stages[static_cast<std::size_t>(stage_of_layer(plan, tensor.layer))];
    if (num_devices(stage.mesh) == 1) continue;  // nothing is gathered there
    if (!allowed(constraints.stage.retentions(tensor), retention_of(stage, tensor))) return false;
  }
  return true;
}

}  // namespace alpa
