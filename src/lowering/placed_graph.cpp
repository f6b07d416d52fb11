#include "placed_graph.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/base/memo.hpp"
#include "alpa/lowering/placed_plan.hpp"
#include "alpa/sharding/arrival_layout.hpp"

namespace alpa {
namespace {

bool is_state(const Tensor& t) {
  return t.role == Role::parameter || t.role == Role::optimizer_state ||
         t.role == Role::accumulator;
}

/// What operators that are alike make of a strategy.
struct KnownLayout {
  ShardingRule rule;
  Strategy strategy;
  DeviceMesh mesh;
  std::shared_ptr<const OperatorLayout> layout;
};

std::size_t hash_of(const ShardingRule& rule, const Strategy& strategy, const DeviceMesh& mesh) {
  std::size_t hash = rule.operands.size();
  const auto add = [&](auto number) { hash = hash_with(hash, static_cast<std::size_t>(number)); };
  for (const Factor& factor : rule.factors) add(factor.size);
  for (const AxisUse& use : strategy.uses) {
    add(use.axis);
    add(use.factor);
    add(use.linear);
  }
  for (const int extent : mesh.extents) add(extent);
  return hash;
}

/// @return valid until the next question
const KnownLayout& layout_of(const ShardingRule& rule, const Strategy& strategy,
                             const DeviceMesh& mesh, Memo<KnownLayout>& known) {
  const auto same = [&](const KnownLayout& other) {
    return other.strategy == strategy && other.mesh == mesh && other.rule == rule;
  };
  return known.of(hash_of(rule, strategy, mesh), same, [&] {
    auto result = apply_strategy(rule, strategy, mesh);
    ALPA_CHECK(result.layout.has_value());
    return KnownLayout{rule, strategy, mesh,
                       std::make_shared<const OperatorLayout>(std::move(*result.layout))};
  });
}

void place_operators(PlacedGraph& placed) {
  const Graph& graph = *placed.graph;
  const Plan& plan = *placed.plan;
  Memo<KnownLayout> layouts;
  for (const Operator& op : graph.operators) {
    const int stage = stage_of_layer(plan, op.layer);
    const StagePlan& stage_plan = plan.stages[static_cast<std::size_t>(stage)];
    const Strategy& strategy = strategy_of(stage_plan, graph, op);
    placed.stage_of_op.push_back(stage);
    placed.chunk_of_op.push_back(chunk_of_layer(plan, op.layer));
    placed.layout_of_op.push_back(layout_of(op.rule, strategy, stage_plan.mesh, layouts).layout);
  }
}

void place_tensors(PlacedGraph& placed) {
  const Graph& graph = *placed.graph;
  placed.stage_of_tensor.assign(graph.tensors.size(), -1);
  placed.source.resize(graph.tensors.size());
  for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
    placed.source[t] = replicated(graph.tensors[t].shape.size());
    if (graph.tensors[t].role == Role::parameter) {  // one that no loss reaches has no update
      placed.stage_of_tensor[t] = stage_of_layer(*placed.plan, graph.tensors[t].layer);
    }
  }
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      const std::size_t t = op.results[r].index();
      if (is_step_state(graph.tensors[t])) continue;
      placed.stage_of_tensor[t] = placed.stage_of_op[o];
      placed.source[t] = placed.layout_of_op[o]->results[r];
    }
  }
}

void find_crossings(PlacedGraph& placed) {
  const Graph& graph = *placed.graph;
  std::set<std::pair<TensorId, int>> seen;
  std::vector<int> producer(graph.tensors.size(), -1);
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    for (const TensorId t : graph.operators[o].results) producer[t.index()] = static_cast<int>(o);
  }
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      const TensorId t = op.operands[i];
      const Tensor& tensor = graph.tensor(t);
      const int from = placed.stage_of_tensor[t.index()];
      const int to = placed.stage_of_op[o];
      if (from < 0 || from == to || !seen.insert({t, to}).second) continue;
      Crossing c{.tensor = t,
                 .from_stage = from,
                 .to_stage = to,
                 .phase = op.phase,
                 .from_chunk = 0,
                 .to_chunk = placed.chunk_of_op[o],
                 .sent = {},
                 .arrives = {}};
      if (!is_state(tensor)) {
        const auto p = static_cast<std::size_t>(producer[t.index()]);
        c.phase = graph.operators[p].phase;
        c.from_chunk = placed.chunk_of_op[p];
      }
      c.sent = without_partial(placed.source[t.index()]);
      const StagePlan& there = placed.plan->stages[static_cast<std::size_t>(to)];
      const auto chosen = there.arrivals.find(tensor.name);
      c.arrives =
          chosen != there.arrivals.end()
              ? chosen->second
              : arrival_layout(tensor.shape, placed.layout_of_op[o]->operands[i], there.mesh);
      placed.crossings.push_back(std::move(c));
    }
  }
}

void find_demands(PlacedGraph& placed) {
  const Graph& graph = *placed.graph;
  placed.demands.resize(graph.tensors.size());
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      placed.demands[op.operands[i].index()][placed.stage_of_op[o]].insert(
          placed.layout_of_op[o]->operands[i]);
    }
  }
  for (const Crossing& c : placed.crossings) {
    placed.demands[c.tensor.index()][c.from_stage].insert(c.sent);
  }
}

/// What no message of backward depends on can wait: gradients of parameters, what is computed again
/// for them alone, and on the first stage everything.
void split_backward(PlacedGraph& placed) {
  const Graph& graph = *placed.graph;
  std::vector<bool> awaited(graph.tensors.size(), false);
  for (const Crossing& c : placed.crossings) {
    if (c.phase == Phase::backward) awaited[c.tensor.index()] = true;
  }
  placed.is_late.assign(graph.operators.size(), false);
  for (std::size_t o = graph.operators.size(); o-- > 0;) {
    const Operator& op = graph.operators[o];
    if (op.phase != Phase::backward) continue;
    placed.is_late[o] = std::none_of(op.results.begin(), op.results.end(),
                                     [&](TensorId t) { return awaited[t.index()]; });
    if (placed.is_late[o]) continue;
    for (const TensorId t : op.operands) awaited[t.index()] = true;
  }
}

/// What each stage has, so that its ranks need not look at what the others have.
void list_by_stage(PlacedGraph& placed) {
  const Graph& graph = *placed.graph;
  placed.ops_of_stage.resize(placed.plan->stages.size());
  placed.state_of_stage.resize(placed.plan->stages.size());
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    placed.ops_of_stage[static_cast<std::size_t>(placed.stage_of_op[o])].push_back(o);
  }
  for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
    const TensorId id{static_cast<std::int32_t>(t)};
    const int stage = placed.stage_of_tensor[t];
    if (stage >= 0 && is_state(graph.tensors[t])) {
      placed.state_of_stage[static_cast<std::size_t>(stage)].push_back(id);
    }
  }
  placed.step_scalars = tensors_with(graph, Role::step_scalar);
  placed.global_scalars = tensors_with(graph, Role::global_scalar);
}

}  // namespace

bool is_step_state(const Tensor& tensor) {
  return tensor.role == Role::step_scalar || tensor.role == Role::global_scalar;
}

bool in_evaluation(const Operator& op) {
  return op.phase == Phase::prepare || op.phase == Phase::forward;
}

PlacedGraph place(const Graph& graph, const Plan& plan) {
  PlacedGraph placed;
  placed.graph = &graph;
  placed.plan = &plan;
  place_operators(placed);
  place_tensors(placed);
  find_crossings(placed);
  find_demands(placed);
  placed.splits_backward = plan.schedule == PipelineKind::zero_bubble;
  if (placed.splits_backward) split_backward(placed);
  list_by_stage(placed);
  return placed;
}

PlacedPlan::PlacedPlan(const Graph& graph, const Plan& plan)
    : placed(std::make_shared<const PlacedGraph>(place(graph, plan))) {}

}  // namespace alpa
