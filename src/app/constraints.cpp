#include "constraints.hpp"

#include "alpa/base/error.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/layouts.hpp"
#include "alpa/plan/methods.hpp"

#include "methods_priced.hpp"

namespace alpa {
namespace {

void check_counts(const ParallelConfig& parallel, int layers, int devices) {
  std::int64_t mesh = 1;
  if (parallel.logical_mesh) {
    for (const std::int64_t extent : *parallel.logical_mesh) mesh *= extent;
  }
  const std::int64_t stages = parallel.stages.value_or(1);
  if (stages * mesh > devices) {
    throw PlanError("parallel: stages " + std::to_string(stages) + " x " + std::to_string(mesh) +
                    (parallel.logical_mesh ? " devices of the logical mesh" : " device each") +
                    " = " + std::to_string(stages * mesh) + " ranks, found " +
                    std::to_string(devices) + ": start more ranks, or change them");
  }
  if (stages > layers) {
    throw PlanError("parallel.stages: found " + std::to_string(stages) + ", the model has " +
                    std::to_string(layers) + " layers");
  }
}

/// A strategy that an operator's rule does not have on the mesh leaves none.
AllowedStrategies only(NamedStrategies layouts) {
  return [layouts = std::move(layouts)](
             const Operator& op, const DeviceMesh& mesh) -> std::optional<std::vector<Strategy>> {
    const Strategy* given = strategy_of(layouts, op.name);
    if (given == nullptr) return std::nullopt;
    if (!apply_strategy(op.rule, *given, mesh).layout) return std::vector<Strategy>{};
    return std::vector{*given};
  };
}

/// What is fixed but layouts.
SearchConstraints fixed_numbers(const ParallelConfig& parallel, int layers, int devices) {
  check_counts(parallel, layers, devices);
  SearchConstraints constraints;
  if (parallel.microbatches) constraints.microbatches = static_cast<int>(*parallel.microbatches);
  if (parallel.stages) constraints.stages = static_cast<int>(*parallel.stages);
  if (parallel.logical_mesh) {
    constraints.logical_mesh.emplace(parallel.logical_mesh->begin(), parallel.logical_mesh->end());
  }
  constraints.schedule = schedule_of(parallel);
  constraints.warm_up = parallel.warm_up;
  const auto* depths =
      constraints.warm_up ? std::get_if<std::vector<std::int64_t>>(&*constraints.warm_up) : nullptr;
  if (depths != nullptr && !constraints.stages) {
    constraints.stages = static_cast<int>(depths->size());
  }
  return constraints;
}

}  // namespace

SearchConstraints constraints_of(const RunConfig& config, const Graph& graph, int devices) {
  SearchConstraints constraints = fixed_numbers(config.parallel, graph.num_layers, devices);
  NamedStrategies layouts = layouts_of(config.parallel, graph);
  if (!layouts.empty()) constraints.stage.strategies = only(std::move(layouts));
  return constraints;
}

SearchRequest search_request(const RunConfig& config, const Target& target) {
  SearchRequest request;
  request.graph = graphs_of(config);
  request.layer_kinds = layer_kinds(config.model);
  if (!request.layer_kinds.empty()) {
    request.graph_of_layers = [&config](std::int64_t microbatch, const std::vector<int>& layers) {
      return build_graph(config, microbatch, layers);
    };
  }
  request.recompute = config.parallel.recompute;
  request.global_batch = config.training.global_batch;
  request.samples_of_group = samples_of_group(config.model);
  request.cluster = *target.cluster;
  request.memory_limit = target.limit;
  request.workspace = target.workspace;
  const bool needs_names = !config.parallel.layouts.empty() || request.layer_kinds.empty();
  request.constraints =
      needs_names
          ? constraints_of(config, build_graph(config, config.training.global_batch), target.ranks)
          : fixed_numbers(config.parallel, static_cast<int>(request.layer_kinds.size()),
                          target.ranks);
  const auto schedule = request.constraints.schedule;
  if (schedule == PipelineKind::interleaved || schedule == PipelineKind::zero_bubble) {
    throw PlanError("parallel.schedule: found " + to_string(*schedule) +
                    ", method auto searches gpipe and 1f1b and takes interleaved or zero_bubble "
                    "where that makes the best cheaper: leave it to auto, or name a method with a "
                    "pipeline (megatron, inter_only, pipedream) or a plan file");
  }
  request.effort = config.parallel.search.nodes.value_or(0);
  return request;
}

}  // namespace alpa
