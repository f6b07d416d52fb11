#include "constraints.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/graph/glob.hpp"

namespace alpa {
namespace {

std::optional<PipelineKind> schedule_of(const ParallelConfig& parallel) {
  switch (parallel.schedule) {
    case PipelineSchedule::automatic:
      return std::nullopt;
    case PipelineSchedule::gpipe:
      return PipelineKind::gpipe;
    case PipelineSchedule::one_forward_one_backward:
      return PipelineKind::one_f_one_b;
    case PipelineSchedule::interleaved:
    case PipelineSchedule::zero_bubble:
      throw PlanError(
          "parallel.schedule: interleaved and zero_bubble are not in this version; "
          "expected auto, gpipe or 1f1b");
  }
  check_failed("known schedule", SourceLine::here());
}

void check_counts(const ParallelConfig& parallel, const Graph& graph, int devices) {
  if (parallel.recompute != Recompute::automatic && parallel.recompute != Recompute::none) {
    throw PlanError(
        "parallel.recompute: recomputation is not in this version; expected auto or none");
  }
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
  if (stages > graph.num_layers) {
    throw PlanError("parallel.stages: found " + std::to_string(stages) + ", the model has " +
                    std::to_string(graph.num_layers) + " layers");
  }
}

using Layouts = std::vector<std::pair<std::string, Strategy>>;

Layouts layouts_of(const ParallelConfig& parallel, const Graph& graph) {
  Layouts layouts;
  for (const auto& [pattern, text] : parallel.layouts) {
    layouts.emplace_back(pattern, parse_strategy(text));
    const bool matched =
        std::any_of(graph.operators.begin(), graph.operators.end(),
                    [&](const Operator& op) { return glob_matches_whole(pattern, op.name); });
    if (matched) continue;
    throw PlanError("parallel.layouts: '" + pattern + "' matches no operator of the model");
  }
  return layouts;
}

/// The last pattern that names the operator decides; a strategy that its rule does not have on the
/// mesh leaves none.
AllowedStrategies only(Layouts layouts) {
  return [layouts = std::move(layouts)](
             const Operator& op, const DeviceMesh& mesh) -> std::optional<std::vector<Strategy>> {
    const auto given = std::find_if(layouts.rbegin(), layouts.rend(), [&](const auto& layout) {
      return glob_matches_whole(layout.first, op.name);
    });
    if (given == layouts.rend()) return std::nullopt;
    if (!apply_strategy(op.rule, given->second, mesh).layout) return std::vector<Strategy>{};
    return std::vector{given->second};
  };
}

}  // namespace

SearchConstraints constraints_of(const RunConfig& config, const Graph& graph, int devices) {
  const ParallelConfig& parallel = config.parallel;
  check_counts(parallel, graph, devices);
  SearchConstraints constraints;
  if (parallel.microbatches) constraints.microbatches = static_cast<int>(*parallel.microbatches);
  if (parallel.stages) constraints.stages = static_cast<int>(*parallel.stages);
  if (parallel.logical_mesh) {
    constraints.logical_mesh.emplace(parallel.logical_mesh->begin(), parallel.logical_mesh->end());
  }
  constraints.schedule = schedule_of(parallel);
  Layouts layouts = layouts_of(parallel, graph);
  if (!layouts.empty()) constraints.stage.strategies = only(std::move(layouts));
  return constraints;
}

}  // namespace alpa
