#include "folded_plan.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/intra_op/folding.hpp"

namespace alpa {
namespace {

constexpr double kWorthFolding = 0.75;  ///< of the layers: no more are kept

std::size_t at(int i) { return static_cast<std::size_t>(i); }

using Layers = std::vector<std::vector<const Operator*>>;

/// @param all with those that repeat others
Layers by_layer(const Graph& graph, bool all) {
  Layers layers(at(graph.num_layers));
  for (const Operator& op : graph.operators) {
    if (all || !op.copy_of.valid()) layers[at(op.layer)].push_back(&op);
  }
  return layers;
}

}  // namespace

LayerLine counted_line(const std::vector<int>& kinds) {
  // A period that stands for others, one that comes before it, and one behind.
  LayerLine line = folded_line(kinds, [](int period) { return 3 * period; });
  const auto kept = static_cast<double>(kept_layers(line).size());
  if (kept > kWorthFolding * line.length()) return LayerLine(line.length());
  return line;
}

std::vector<Recompute> recompute_of(const FoldedPlan& folded) {
  std::vector<Recompute> all;
  if (folded.plan.recompute.empty()) return all;
  for (int l = 0; l < folded.line.length(); ++l) {
    all.push_back(folded.plan.recompute[at(folded.line.like(l))]);
  }
  return all;
}

std::vector<Recompute> kept_of(const std::vector<Recompute>& of_line, const LayerLine& line) {
  if (of_line.empty()) return {};
  std::vector<Recompute> kept;
  for (const int l : kept_layers(line)) kept.push_back(of_line[at(l)]);
  return kept;
}

bool keeps_unusually(const Plan& plan) {
  return std::any_of(plan.stages.begin(), plan.stages.end(),
                     [](const StagePlan& stage) { return !stage.retention.empty(); });
}

Plan with_choices_of(const FoldedPlan& folded, const Graph& graph, Plan to, const Graph& other,
                     const LayerLine& line) {
  const std::vector<int> kept = kept_layers(line);
  const auto each_layer = [&](bool all, const auto& visit) {
    const Layers from_layers = by_layer(graph, all);
    const Layers to_layers = by_layer(other, all);
    ALPA_CHECK(kept.size() == to_layers.size());
    for (std::size_t l = 0; l < kept.size(); ++l) {
      const int like = folded.line.like(kept[l]);
      ALPA_CHECK(from_layers[at(like)].size() == to_layers[l].size());
      visit(folded.plan.stages[at(stage_of_layer(folded.plan, like))], from_layers[at(like)],
            to.stages[at(stage_of_layer(to, static_cast<int>(l)))], to_layers[l]);
    }
  };
  each_layer(
      false, [](const StagePlan& from, const auto& from_ops, StagePlan& stage, const auto& ops) {
        for (std::size_t k = 0; k < ops.size(); ++k) {
          stage.strategies.emplace(ops[k]->name, renamed(from.strategies.at(from_ops[k]->name),
                                                         from_ops[k]->rule, ops[k]->rule));
        }
      });
  // What a layer makes is kept as that layer says, what comes from outside as its readers do.
  if (!keeps_unusually(folded.plan)) return to;
  for (const bool results : {true, false}) {
    each_layer(true,
               [&](const StagePlan& from, const auto& from_ops, StagePlan& stage, const auto& ops) {
                 for (std::size_t k = 0; k < ops.size(); ++k) {
                   const auto& tensors = results ? ops[k]->results : ops[k]->operands;
                   const auto& of = results ? from_ops[k]->results : from_ops[k]->operands;
                   for (std::size_t i = 0; i < tensors.size(); ++i) {
                     const auto chosen = from.retention.find(graph.tensor(of[i]).name);
                     if (chosen == from.retention.end()) continue;
                     stage.retention.emplace(other.tensor(tensors[i]).name, chosen->second);
                   }
                 }
               });
  }
  return to;
}

Plan unfolded(const FoldedPlan& folded, const Graph& graph, const Graph& whole) {
  Plan plan = folded.plan;
  plan.recompute = recompute_of(folded);
  for (StagePlan& stage : plan.stages) {
    ALPA_CHECK(stage.arrivals.empty());
    stage.strategies.clear();
    stage.retention.clear();
    for (auto& [first, last] : stage.chunks) {
      first = folded.line.layer_of(first);
      last = folded.line.layer_of(last);
    }
  }
  return with_choices_of(folded, graph, std::move(plan), whole, LayerLine(whole.num_layers));
}

}  // namespace alpa
