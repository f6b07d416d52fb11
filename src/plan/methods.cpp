#include "alpa/plan/methods.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "alpa/base/error.hpp"
#include "alpa/graph/glob.hpp"

#include "hand_strategies.hpp"

namespace alpa {
namespace {

/// How a method arranges the ranks.
struct Shape3 {
  int data = 1, tensor = 1, pipeline = 1;
  int zero = 0;
  bool heuristic = false;
  bool balance_flops = false;
  PipelineKind schedule = PipelineKind::one_f_one_b;
};

std::string name_of(Method method) {
  for (const auto& entry : names_of(method)) {
    if (entry.value == method) return std::string(entry.name);
  }
  return "?";
}

Shape3 megatron_degrees(const ParallelConfig& parallel, int ranks) {
  Shape3 shape;
  shape.tensor = static_cast<int>(parallel.tensor.value_or(1));
  shape.pipeline = static_cast<int>(parallel.pipeline.value_or(parallel.stages.value_or(1)));
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

Shape3 shape_of(const MethodRequest& request) {
  const int ranks = request.world_size;
  Shape3 shape;
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
      shape.schedule = PipelineKind::gpipe;
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

/// Sizes of consecutive runs of layers: equal counts, or the least largest weight.
std::vector<int> cut_layers(const std::vector<double>& weights, int parts) {
  const auto n = weights.size();
  const auto k = static_cast<std::size_t>(parts);
  // best[p][i]: least possible largest weight of layers 0..i-1 in p parts (Bellman).
  std::vector<std::vector<double>> best(k + 1, std::vector<double>(n + 1, 1e300));
  std::vector<std::vector<std::size_t>> from(k + 1, std::vector<std::size_t>(n + 1, 0));
  best[0][0] = 0;
  for (std::size_t p = 1; p <= k; ++p) {
    for (std::size_t i = p; i <= n; ++i) {
      double weight = 0;
      for (std::size_t j = i; j-- > p - 1;) {
        weight += weights[j];
        const double largest = std::max(best[p - 1][j], weight);
        if (largest < best[p][i]) {
          best[p][i] = largest;
          from[p][i] = j;
        }
      }
    }
  }
  std::vector<int> sizes(k);
  for (std::size_t p = k, i = n; p > 0; --p) {
    sizes[p - 1] = static_cast<int>(i - from[p][i]);
    i = from[p][i];
  }
  return sizes;
}

std::vector<double> layer_weights(const Graph& graph, bool by_flops) {
  std::vector<double> weights(static_cast<std::size_t>(graph.num_layers), by_flops ? 0.0 : 1.0);
  if (!by_flops) return weights;
  for (const Operator& op : graph.operators) {
    weights[static_cast<std::size_t>(op.layer)] += flops_of(op).value;
  }
  return weights;
}

int choose_microbatches(const MethodRequest& request, const Shape3& shape) {
  const std::int64_t batch = request.global_batch;
  if (request.parallel.microbatches) {
    const std::int64_t count = *request.parallel.microbatches;
    check_microbatches("parallel.microbatches", count, batch, request.samples_of_group);
    return static_cast<int>(count);
  }
  if (shape.pipeline == 1) return 1;
  std::int64_t most = 1;
  for (std::int64_t count = 1; count <= batch; ++count) {
    if (batch % (count * request.samples_of_group) != 0 || batch / count < shape.data) continue;
    most = count;
    if (count >= 4L * shape.pipeline) break;
  }
  return static_cast<int>(most);
}

void check_absent(const ParallelConfig& parallel) {
  if (parallel.recompute != Recompute::automatic && parallel.recompute != Recompute::none) {
    throw PlanError(
        "parallel.recompute: recomputation is not in this version; expected auto or "
        "none");
  }
}

void check_constraints(const MethodRequest& request, const Shape3& shape, const DeviceMesh& mesh) {
  const ParallelConfig& parallel = request.parallel;
  check_absent(parallel);
  if (parallel.stages && *parallel.stages != shape.pipeline) {
    throw PlanError("parallel.stages: found " + std::to_string(*parallel.stages) + ", method " +
                    name_of(parallel.method) + " makes " + std::to_string(shape.pipeline));
  }
  if (parallel.logical_mesh) {
    const std::vector<int> wanted(parallel.logical_mesh->begin(), parallel.logical_mesh->end());
    if (wanted != mesh.extents) {
      throw PlanError("parallel.logical_mesh: method " + name_of(parallel.method) + " makes [" +
                      std::to_string(mesh.extents.front()) +
                      (mesh.extents.size() > 1 ? ", " + std::to_string(mesh.extents[1]) : "") +
                      "]; leave it to auto or change the degrees");
    }
  }
}

PipelineKind choose_schedule(const ParallelConfig& parallel, const Shape3& shape) {
  switch (parallel.schedule) {
    case PipelineSchedule::automatic:
      return shape.pipeline == 1 ? PipelineKind::gpipe : shape.schedule;
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

/// The data axis comes first, so that tensor groups are neighbours.
DeviceMesh mesh_of(const Shape3& shape) {
  if (shape.data > 1 && shape.tensor > 1) return {{shape.data, shape.tensor}};
  return {{shape.data * shape.tensor}};
}

HandAxes axes_of(const Shape3& shape) {
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

void apply_layouts(Plan& plan, const Graph& graph, const ParallelConfig& parallel) {
  for (const auto& [pattern, text] : parallel.layouts) {
    const Strategy strategy = parse_strategy(text);
    bool matched = false;
    for (const Operator& op : graph.operators) {
      if (!glob_matches_whole(pattern, op.name)) continue;
      matched = true;
      auto& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, op.layer))];
      stage.strategies[op.name] = strategy;
    }
    if (!matched) {
      throw PlanError("parallel.layouts: '" + pattern + "' matches no operator of the model");
    }
  }
}

/// The plan of a shape with so many microbatches.
Plan arrange(const MethodRequest& request, const Shape3& shape, int microbatches,
             const GraphOfMicrobatch& graph_of) {
  const DeviceMesh mesh = mesh_of(shape);
  Plan plan;
  plan.method = name_of(request.parallel.method);
  plan.world_size = request.world_size;
  plan.num_microbatches = microbatches;
  plan.schedule = choose_schedule(request.parallel, shape);
  const std::int64_t microbatch = request.global_batch / plan.num_microbatches;
  if (!shape.heuristic && microbatch < shape.data) {
    throw PlanError("method " + plan.method + ": a microbatch of " + std::to_string(microbatch) +
                        " samples cannot be split over " + std::to_string(shape.data) +
                        " ranks: raise training.global_batch or lower parallel.microbatches",
                    ExitCode::no_plan);
  }
  const Graph graph = graph_of(microbatch);
  if (graph.num_layers < shape.pipeline) {
    throw PlanError("method " + plan.method + ": " + std::to_string(shape.pipeline) +
                        " stages need as many layers, the model has " +
                        std::to_string(graph.num_layers),
                    ExitCode::no_plan);
  }
  const auto sizes = cut_layers(layer_weights(graph, shape.balance_flops), shape.pipeline);
  int layer = 0;
  for (int s = 0; s < shape.pipeline; ++s) {
    StagePlan stage;
    const int count = sizes[static_cast<std::size_t>(s)];
    stage.chunks = {{layer, layer + count - 1}};
    layer += count;
    stage.mesh = mesh;
    for (int d = 0; d < num_devices(mesh); ++d) stage.ranks.push_back(s * num_devices(mesh) + d);
    choose_by_hand(stage, graph, axes_of(shape));
    plan.stages.push_back(std::move(stage));
  }
  for (int s = 0; plan.schedule == PipelineKind::one_f_one_b && s < shape.pipeline; ++s) {
    plan.warm_up.push_back(shape.pipeline - s);
  }
  plan.graph_fingerprint = fingerprint(graph);
  apply_layouts(plan, graph, request.parallel);
  validate(plan, graph);
  return plan;
}

struct Arrangement {
  double bound = 0.0;  ///< of the step time
  Shape3 shape;
  int microbatches = 1;
  [[nodiscard]] auto order() const {
    return std::tuple(bound, shape.pipeline, shape.tensor, microbatches);
  }
};

/// Every arrangement of megatron that what is given allows. Pipelines of equal stages take at least
/// (B + p - 1) / B times what the products of the whole step take on all devices.
std::vector<Arrangement> megatron_arrangements(const MethodRequest& request, Flops step) {
  const ParallelConfig& parallel = request.parallel;
  const int ranks = request.world_size;
  const auto allows = [](const std::optional<std::int64_t>& given, std::int64_t value) {
    return !given || *given == value;
  };
  const double work = request.least_time ? request.least_time({step.value / ranks}).value : 0.0;
  std::vector<Arrangement> found;
  for (int pipeline = 1; pipeline <= ranks; ++pipeline) {
    if (ranks % pipeline != 0 || !allows(parallel.pipeline, pipeline)) continue;
    if (!allows(parallel.stages, pipeline)) continue;
    for (int tensor = 1; tensor <= ranks / pipeline; ++tensor) {
      const int data = ranks / pipeline / tensor;
      if (ranks / pipeline % tensor != 0 || !allows(parallel.tensor, tensor)) continue;
      if (!allows(parallel.data, data)) continue;
      const Shape3 shape{.data = data, .tensor = tensor, .pipeline = pipeline};
      const std::vector<int> mesh = mesh_of(shape).extents;
      if (parallel.logical_mesh &&
          !std::equal(mesh.begin(), mesh.end(), parallel.logical_mesh->begin(),
                      parallel.logical_mesh->end())) {
        continue;
      }
      for (std::int64_t count = 1; count <= request.global_batch / data; ++count) {
        if (request.global_batch % (count * request.samples_of_group) != 0) continue;
        if (!allows(parallel.microbatches, count)) continue;
        const double b = static_cast<double>(count);
        found.push_back({work * (b + pipeline - 1) / b, shape, static_cast<int>(count)});
      }
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.order() < b.order(); });
  return found;
}

/// Nothing where strategies that are given do not fit the arrangement.
std::optional<Plan> try_arranging(const MethodRequest& request, const Arrangement& a,
                                  const GraphOfMicrobatch& graph_of) {
  if (request.parallel.layouts.empty()) {
    return arrange(request, a.shape, a.microbatches, graph_of);
  }
  try {
    return arrange(request, a.shape, a.microbatches, graph_of);
  } catch (const PlanError&) {
    return std::nullopt;
  }
}

/// The arrangement of least price; nothing if there is none.
std::optional<Plan> cheapest_megatron(const MethodRequest& request,
                                      const GraphOfMicrobatch& graph_of) {
  std::map<std::int64_t, Graph> graphs;
  const GraphOfMicrobatch cached = [&](std::int64_t microbatch) -> const Graph& {
    const auto found = graphs.find(microbatch);
    if (found != graphs.end()) return found->second;
    return graphs.emplace(microbatch, graph_of(microbatch)).first->second;
  };
  const Graph& whole = cached(request.global_batch);
  std::optional<Plan> best;
  MethodPrice least;
  std::set<std::tuple<int, int>> fits;  ///< data and tensor degrees without a pipeline
  for (const Arrangement& a : megatron_arrangements(request, flops_per_microbatch(whole))) {
    const std::tuple degrees(a.shape.data, a.shape.tensor);
    const bool cannot_be_better =
        best && least.missing.value == 0 && a.bound >= least.step_time.value;
    if (cannot_be_better || whole.num_layers < a.shape.pipeline) continue;
    if (a.shape.pipeline == 1 && fits.contains(degrees)) continue;  // more only add launches
    std::optional<Plan> plan = try_arranging(request, a, cached);
    if (!plan) continue;
    const MethodPrice price = request.price(cached(request.global_batch / a.microbatches), *plan);
    if (a.shape.pipeline == 1 && price.missing.value == 0) fits.insert(degrees);
    if (best && price >= least) continue;
    best = std::move(plan);
    least = price;
  }
  return best;
}

}  // namespace

void check_microbatches(const std::string& what, std::int64_t count, std::int64_t global_batch,
                        std::int64_t samples_of_group) {
  if (count >= 1 && global_batch % count == 0 && global_batch / count % samples_of_group == 0) {
    return;
  }
  std::string expected = "a divisor of training.global_batch = " + std::to_string(global_batch);
  if (samples_of_group > 1) {
    expected += " that leaves whole groups of " + std::to_string(samples_of_group) +
                " samples in a microbatch";
  }
  throw PlanError(what + ": found " + std::to_string(count) + ", expected " + expected);
}

Plan plan_by_method(const MethodRequest& request, const GraphOfMicrobatch& graph_of) {
  if (request.parallel.method == Method::megatron && request.price) {
    check_absent(request.parallel);
    if (auto plan = cheapest_megatron(request, graph_of)) return *plan;
  }
  const Shape3 shape = shape_of(request);
  check_constraints(request, shape, mesh_of(shape));
  return arrange(request, shape, choose_microbatches(request, shape), graph_of);
}

}  // namespace alpa
