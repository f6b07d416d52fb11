#include "alpa/plan/methods.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/plan/layouts.hpp"
#include "alpa/schedule/schedule.hpp"

#include "method_shape.hpp"

namespace alpa {
namespace {

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
        if (weight >= best[p][i]) break;
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

LayerLine line_of(const MethodRequest& request, const Graph& graph) {
  return request.line.value_or(LayerLine(graph.num_layers));
}

/// Sums over the line, of operators that count.
template <typename Counts>
std::vector<double> flops_of_layers(const Graph& graph, const LayerLine& line, Counts counts) {
  std::vector<double> held(static_cast<std::size_t>(graph.num_layers), 0.0);
  for (const Operator& op : graph.operators) {
    if (counts(op)) held[static_cast<std::size_t>(op.layer)] += flops_of(op).value;
  }
  std::vector<double> all;
  for (int l = 0; l < line.length(); ++l)
    all.push_back(held[static_cast<std::size_t>(line.like(l))]);
  return all;
}

std::vector<double> layer_weights(const Graph& graph, const LayerLine& line, bool by_flops) {
  if (!by_flops) return std::vector<double>(static_cast<std::size_t>(line.length()), 1.0);
  return flops_of_layers(graph, line, [](const Operator&) { return true; });
}

/// Copies follow what they are copies of.
/// @throws PlanError for a strategy that an operator cannot take on the method's mesh
void apply_layouts(Plan& plan, const Graph& graph, const NamedStrategies& layouts) {
  for (const Operator& op : graph.operators) {
    const Strategy* given = op.copy_of.valid() ? nullptr : strategy_of(layouts, op.name);
    if (given == nullptr) continue;
    auto& stage = plan.stages[static_cast<std::size_t>(stage_of_layer(plan, op.layer))];
    const StrategyResult result = apply_strategy(op.rule, *given, stage.mesh);
    if (!result.layout) {
      std::string mesh;
      for (const int n : stage.mesh.extents)
        mesh += (mesh.empty() ? "" : " x ") + std::to_string(n);
      throw PlanError("parallel.layouts: " + op.name + " cannot take " + to_string(*given) +
                      " with method " + plan.method + ", whose mesh is " + mesh +
                      " here: " + result.reason);
    }
    stage.strategies[op.name] = *given;
  }
}

bool interleaves(const ParallelConfig& parallel) {
  return parallel.schedule == PipelineSchedule::interleaved;
}

int chunks_of_stage(const ParallelConfig& parallel) {
  return interleaves(parallel) ? static_cast<int>(parallel.chunks_per_stage.value_or(2)) : 1;
}

void check_layers(const MethodRequest& request, const MethodShape& shape, const Graph& graph) {
  const int chunks = chunks_of_stage(request.parallel);
  const int layers = line_of(request, graph).length();
  if (layers / chunks >= shape.pipeline) return;
  throw PlanError("method " + std::string(name_of(request.parallel.method)) + ": " +
                      std::to_string(shape.pipeline) + " stages " +
                      (chunks == 1 ? "need as many layers"
                                   : "of " + std::to_string(chunks) + " chunks need a layer each") +
                      ", the model has " + std::to_string(layers),
                  ExitCode::no_plan);
}

/// Strategies and retention of every operator of the graph, as of one stage.
StagePlan chosen_everywhere(const Graph& graph, const MethodShape& shape) {
  StagePlan all;
  all.chunks = {{0, graph.num_layers - 1}};
  all.mesh = mesh_of(shape);
  choose_by_hand(all, graph, axes_of(shape));
  return all;
}

/// The plan of a shape for the graph of a microbatch.
Plan arrange(const MethodRequest& request, const MethodShape& shape, int microbatches,
             const Graph& graph) {
  const DeviceMesh mesh = mesh_of(shape);
  Plan plan;
  plan.method = name_of(request.parallel.method);
  plan.world_size = request.world_size;
  plan.num_microbatches = microbatches;
  plan.recompute = graph.recompute;
  plan.schedule =
      schedule_of(request.parallel)
          .value_or(microbatches == 1 ? PipelineKind::gpipe : PipelineKind::one_f_one_b);
  const std::int64_t microbatch = request.global_batch / microbatches;
  if (!shape.heuristic && microbatch < shape.data) {
    throw PlanError("method " + plan.method + ": a microbatch of " + std::to_string(microbatch) +
                        " samples cannot be split over " + std::to_string(shape.data) +
                        " ranks: raise training.global_batch or lower parallel.microbatches",
                    ExitCode::no_plan);
  }
  check_layers(request, shape, graph);
  const int rounds = chunks_of_stage(request.parallel);
  const auto sizes = cut_layers(layer_weights(graph, line_of(request, graph), shape.balance_flops),
                                rounds * shape.pipeline);
  std::vector<std::vector<std::pair<int, int>>> chunks(static_cast<std::size_t>(shape.pipeline));
  int layer = 0;
  for (std::size_t c = 0; c < sizes.size(); ++c) {
    chunks[c % chunks.size()].emplace_back(layer, layer + sizes[c] - 1);
    layer += sizes[c];
  }
  std::optional<StagePlan> alike;
  if (request.line) alike = chosen_everywhere(graph, shape);
  for (int s = 0; s < shape.pipeline; ++s) {
    StagePlan stage;
    if (alike) stage = *alike;
    stage.chunks = chunks[static_cast<std::size_t>(s)];
    stage.mesh = mesh;
    for (int d = 0; d < num_devices(mesh); ++d) stage.ranks.push_back(s * num_devices(mesh) + d);
    if (!alike) choose_by_hand(stage, graph, axes_of(shape));
    plan.stages.push_back(std::move(stage));
  }
  if (plan.schedule == PipelineKind::one_f_one_b) {
    plan.warm_up = warm_up_of(request.parallel.warm_up.value_or(LeastDepth{}), shape.pipeline);
  }
  if (request.line) return plan;
  plan.graph_fingerprint = fingerprint(graph);
  apply_layouts(plan, graph, layouts_of(request.parallel, graph));
  validate(plan, graph);
  return plan;
}

/// Numbers of microbatches that a shape may be run with, ascending: what is given, else those that
/// leave whole groups and a sample for each rank of the data axis.
std::vector<int> counts_of(const MethodRequest& request, const MethodShape& shape) {
  const std::int64_t batch = request.global_batch;
  if (request.parallel.microbatches) {
    const std::int64_t count = *request.parallel.microbatches;
    check_microbatches("parallel.microbatches", count, batch, request.samples_of_group);
    return {static_cast<int>(count)};
  }
  std::vector<int> counts{1};
  const std::int64_t least = shape.heuristic ? 1 : shape.data;
  for (std::int64_t count = 2; count <= batch / least; ++count) {
    if (batch % (count * request.samples_of_group) == 0) counts.push_back(static_cast<int>(count));
  }
  return counts;
}

/// Graphs by the size of the microbatch, each made once.
class Graphs {
 public:
  explicit Graphs(const GraphOfMicrobatch& graph_of) : graph_of_(graph_of) {}
  const Graph& at(std::int64_t microbatch) {
    const auto found = graphs_.find(microbatch);
    if (found != graphs_.end()) return found->second;
    return graphs_.emplace(microbatch, graph_of_(microbatch)).first->second;
  }

 private:
  const GraphOfMicrobatch& graph_of_;
  std::map<std::int64_t, Graph> graphs_;
};

/// A plan with its price; none where strategies that are given do not fit the shape.
struct Candidate {
  std::optional<Plan> plan;
  MethodPrice price{{std::numeric_limits<std::int64_t>::max()}, {}};
};

/// One shape with any of its numbers of microbatches.
class ShapeSearch {
 public:
  ShapeSearch(const MethodRequest& request, const MethodShape& shape, Graphs& graphs)
      : request_(request),
        shape_(shape),
        graphs_(graphs),
        counts_(counts_of(request, shape)),
        tried_(counts_.size()) {
    const int enough = shape.pipeline == 1 ? 1 : 4 * shape.pipeline;
    while (start_ + 1 < counts_.size() && counts_[start_] < enough) ++start_;
  }

  /// What is taken where there are no prices.
  Plan first_plan() {
    const int count = counts_[start_];
    return arrange(request_, shape_, count, graphs_.at(request_.global_batch / count));
  }

  /// The number of least price, as far as prices have one minimum: with more microbatches a plan
  /// needs less memory, waits less in a pipeline and launches more.
  const Candidate& best() {
    std::size_t i = fewest_that_fit();
    if (shape_.pipeline == 1) return at(i);  // more only add launches
    while (i + 1 < counts_.size() && at(i + 1).price < at(i).price) ++i;
    while (i > 0 && at(i - 1).price < at(i).price) --i;
    return at(i);
  }

 private:
  /// From the first one on; the most, if that does not fit either.
  std::size_t fewest_that_fit() {
    std::size_t low = start_;
    if (fits(low)) return low;
    std::size_t high = counts_.size() - 1;
    while (high > low && !at(high).plan) --high;
    if (!fits(high)) return high;
    while (low + 1 < high) {
      const std::size_t middle = (low + high) / 2;
      (fits(middle) ? high : low) = middle;
    }
    return high;
  }

  bool fits(std::size_t i) { return at(i).price.missing.value == 0; }

  const Candidate& at(std::size_t i) {
    if (!tried_[i]) tried_[i] = candidate(counts_[i]);
    return *tried_[i];
  }

  Candidate candidate(int count) {
    const Graph& graph = graphs_.at(request_.global_batch / count);
    Candidate made;
    try {
      made.plan = arrange(request_, shape_, count, graph);
    } catch (const PlanError&) {
      if (request_.parallel.layouts.empty()) throw;
      return made;
    }
    made.price = request_.price(graph, *made.plan);
    return made;
  }

  const MethodRequest& request_;
  MethodShape shape_;
  Graphs& graphs_;
  std::vector<int> counts_;
  std::vector<std::optional<Candidate>> tried_;
  std::size_t start_ = 0;
};

/// Every shape of megatron that what is given allows.
std::vector<MethodShape> megatron_shapes(const MethodRequest& request, int layers) {
  const ParallelConfig& parallel = request.parallel;
  const int ranks = request.world_size;
  const int least = fewest_stages(parallel);
  const int most = std::min(ranks, layers / chunks_of_stage(parallel));
  const auto allows = [](const std::optional<std::int64_t>& given, std::int64_t value) {
    return !given || *given == value;
  };
  std::vector<MethodShape> found;
  for (int pipeline = least; pipeline <= most; ++pipeline) {
    if (ranks % pipeline != 0 || !allows(parallel.pipeline, pipeline)) continue;
    if (!allows(parallel.stages, pipeline)) continue;
    if (!allows(stages_of_depths(parallel), pipeline)) continue;
    for (int tensor = 1; tensor <= ranks / pipeline; ++tensor) {
      const int data = ranks / pipeline / tensor;
      if (ranks / pipeline % tensor != 0 || !allows(parallel.tensor, tensor)) continue;
      if (!allows(parallel.data, data) || data > request.global_batch) continue;
      const std::int64_t microbatch =
          request.global_batch / request.parallel.microbatches.value_or(1);
      if (data > microbatch) continue;
      const MethodShape shape{.data = data, .tensor = tensor, .pipeline = pipeline};
      const std::vector<int> mesh = mesh_of(shape).extents;
      const auto& wanted = parallel.logical_mesh;
      if (wanted && !std::equal(mesh.begin(), mesh.end(), wanted->begin(), wanted->end())) continue;
      found.push_back(shape);
    }
  }
  return found;
}

/// The plan of least price; nothing if there is none. Pipelines of equal stages of v chunks take at
/// least (B + (p - 1)/v) / B times what the products of the whole step take on all devices.
std::optional<Plan> cheapest_megatron(const MethodRequest& request, Graphs& graphs) {
  const Graph& whole = graphs.at(request.global_batch);
  const LayerLine line = line_of(request, whole);
  double flops = 0.0;
  for (const double layer : flops_of_layers(whole, line, [](const Operator& op) {
         return !op.copy_of.valid() && (op.phase == Phase::forward || op.phase == Phase::backward);
       })) {
    flops += layer / request.world_size;
  }
  const double work = request.least_time ? request.least_time({flops}).value : 0.0;
  struct Bounded {
    double bound = 0.0;
    MethodShape shape;
  };
  std::vector<Bounded> shapes;
  for (const MethodShape& shape : megatron_shapes(request, line.length())) {
    const double most = counts_of(request, shape).back();
    const double fill = (shape.pipeline - 1.0) / chunks_of_stage(request.parallel);
    shapes.push_back({work * (most + fill) / most, shape});
  }
  std::stable_sort(shapes.begin(), shapes.end(),
                   [](const Bounded& a, const Bounded& b) { return a.bound < b.bound; });
  Candidate best;
  for (const Bounded& each : shapes) {
    const bool cannot_be_better =
        best.plan && best.price.missing.value == 0 && each.bound >= best.price.step_time.value;
    if (cannot_be_better) continue;
    Candidate found = ShapeSearch(request, each.shape, graphs).best();
    if (found.plan && (!best.plan || found.price < best.price)) best = std::move(found);
  }
  return best.plan;
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

std::optional<PipelineKind> schedule_of(const ParallelConfig& parallel) {
  switch (parallel.schedule) {
    case PipelineSchedule::automatic:
      if (parallel.warm_up) return PipelineKind::one_f_one_b;
      return std::nullopt;
    case PipelineSchedule::gpipe:
      return PipelineKind::gpipe;
    case PipelineSchedule::one_forward_one_backward:
      return PipelineKind::one_f_one_b;
    case PipelineSchedule::interleaved:
      return PipelineKind::interleaved;
    case PipelineSchedule::zero_bubble:
      return PipelineKind::zero_bubble;
  }
  check_failed("known schedule", SourceLine::here());
}

std::vector<int> warm_up_of(const WarmUpDepth& depth, int stages) {
  if (std::holds_alternative<LeastDepth>(depth)) return least_warm_up(stages);
  if (std::holds_alternative<MostDepth>(depth)) return most_warm_up(stages);
  const auto& list = std::get<std::vector<std::int64_t>>(depth);
  if (list.size() != static_cast<std::size_t>(stages)) {
    throw PlanError("parallel.warm_up: found " + to_string(depth) +
                    ", expected a depth for each of " + std::to_string(stages) + " stages");
  }
  const std::vector<int> least = least_warm_up(stages);
  std::vector<int> found;
  for (std::size_t s = 0; s < list.size(); ++s) {
    const std::int64_t most = s == 0 ? std::numeric_limits<int>::max() : list[s - 1];
    if (list[s] < least[s] || list[s] > most) {
      throw PlanError("parallel.warm_up[" + std::to_string(s) + "]: found " +
                      std::to_string(list[s]) + ", expected at least " + std::to_string(least[s]) +
                      (s == 0 ? "" : " and no more than the stage before"));
    }
    found.push_back(static_cast<int>(list[s]));
  }
  return found;
}

Graph recomputing(Graph graph, std::optional<Recompute> everywhere) {
  if (!everywhere) return graph;
  Graph made = with_recomputation(graph, recompute_everywhere(graph, *everywhere));
  const bool repeats = std::any_of(made.operators.begin(), made.operators.end(),
                                   [](const Operator& op) { return op.copy_of.valid(); });
  if (*everywhere == Recompute::attention && !repeats) {
    throw PlanError(
        "parallel.recompute: found attention, no layer of the model has any; expected auto, none "
        "or full");
  }
  return made;
}

Plan plan_by_method(const MethodRequest& request, const GraphOfMicrobatch& given) {
  const GraphOfMicrobatch graph_of = [&](std::int64_t microbatch) {
    return recomputing(given(microbatch), request.parallel.recompute);
  };
  Graphs graphs(graph_of);
  if (request.parallel.method == Method::megatron && request.price) {
    if (auto plan = cheapest_megatron(request, graphs)) return *plan;
  }
  ShapeSearch search(request, shape_of_method(request), graphs);
  if (request.price) {
    if (const Candidate& best = search.best(); best.plan) return *best.plan;
  }
  return search.first_plan();
}

}  // namespace alpa
