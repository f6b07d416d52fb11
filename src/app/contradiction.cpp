#include "contradiction.hpp"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/layouts.hpp"
#include "alpa/plan/methods.hpp"

#include "constraints.hpp"

namespace alpa {
namespace {

/// One thing that the configuration fixes.
struct Given {
  std::string text;  ///< "parallel.stages=2"
  std::function<void(ParallelConfig&)> drop;
};

std::string text_of(const std::vector<std::int64_t>& extents) {
  std::string text = "[";
  for (std::size_t i = 0; i < extents.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(extents[i]);
  }
  return text + "]";
}

std::vector<Given> given_of(const ParallelConfig& parallel) {
  std::vector<Given> all;
  if (parallel.microbatches) {
    all.push_back({"parallel.microbatches=" + std::to_string(*parallel.microbatches),
                   [](ParallelConfig& p) { p.microbatches.reset(); }});
  }
  if (parallel.stages) {
    all.push_back({"parallel.stages=" + std::to_string(*parallel.stages),
                   [](ParallelConfig& p) { p.stages.reset(); }});
  }
  if (parallel.logical_mesh) {
    all.push_back({"parallel.logical_mesh=" + text_of(*parallel.logical_mesh),
                   [](ParallelConfig& p) { p.logical_mesh.reset(); }});
  }
  if (parallel.schedule != PipelineSchedule::automatic) {
    all.push_back({"parallel.schedule=" + std::string(name_of(parallel.schedule)),
                   [](ParallelConfig& p) { p.schedule = PipelineSchedule::automatic; }});
  }
  if (parallel.warm_up) {
    all.push_back({"parallel.warm_up=" + to_string(*parallel.warm_up),
                   [](ParallelConfig& p) { p.warm_up.reset(); }});
  }
  for (const auto& layout : parallel.layouts) {
    all.push_back({path_of_key("parallel.layouts", layout.first) + "=" + layout.second,
                   [layout](ParallelConfig& p) { std::erase(p.layouts, layout); }});
  }
  return all;
}

bool possible(const RunConfig& config, const Target& target) {
  try {
    return has_plan(search_request(config, target));
  } catch (const PlanError&) {
    return false;
  }
}

/// What is left when everything is dropped without which there is no plan either.
std::vector<Given> least_collision(RunConfig config, const Target& target) {
  std::vector<Given> kept;
  for (Given& given : given_of(config.parallel)) {
    RunConfig without = config;
    given.drop(without.parallel);
    if (possible(without, target))
      kept.push_back(std::move(given));
    else
      config = without;
  }
  return kept;
}

/// Why an operator cannot take the strategy that is given for it: "layers.0.norm cannot take e@1 on
/// a mesh of 4 (the mesh has no axis 1)"; empty if each can.
std::string reason_of(const RunConfig& config, const Target& target) {
  const ParallelConfig& parallel = config.parallel;
  std::vector<int> extents{target.ranks / static_cast<int>(parallel.stages.value_or(1))};
  if (parallel.logical_mesh)
    extents.assign(parallel.logical_mesh->begin(), parallel.logical_mesh->end());
  const std::int64_t microbatch = config.training.global_batch / parallel.microbatches.value_or(1);
  const Graph graph = build_graph(config, microbatch);
  const NamedStrategies layouts = layouts_of(parallel, graph);
  for (const Operator& op : graph.operators) {
    const Strategy* given = strategy_of(layouts, op.name);
    if (given == nullptr) continue;
    const StrategyResult result = apply_strategy(op.rule, *given, {extents});
    if (result.layout) continue;
    std::string mesh;
    for (const int n : extents) mesh += (mesh.empty() ? "" : " x ") + std::to_string(n);
    return op.name + " cannot take " + to_string(*given) + " on a mesh of " + mesh +
           " with microbatches of " + std::to_string(microbatch) +
           (microbatch == 1 ? " sample: " : " samples: ") + result.reason;
  }
  return "";
}

}  // namespace

void refuse_together(const RunConfig& config, const Target& target) {
  const std::vector<Given> collision = least_collision(config, target);
  std::string text = "parallel: no plan meets ";
  for (std::size_t i = 0; i < collision.size(); ++i)
    text += (i > 0 ? " and " : "") + collision[i].text;
  text += collision.size() == 1 ? " on these devices: give it up or change it"
                                : " together: give up or change one of them";
  const std::string reason = reason_of(config, target);
  throw PlanError(text + (reason.empty() ? "" : "\n  " + reason));
}

}  // namespace alpa
