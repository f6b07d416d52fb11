#include "layer_choices.hpp"

#include <algorithm>
#include <tuple>

#include "alpa/base/error.hpp"
#include "alpa/intra_op/folding.hpp"

namespace alpa::intra_op {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// The part that a layer follows, and the layer of it that is seen in its place.
struct Followed {
  const LayerChoices* choices = nullptr;
  int layer = 0;
};

Followed followed(const std::vector<ChosenLayers>& parts, int layer) {
  for (const ChosenLayers& part : parts) {
    if (part.first <= layer && layer <= part.last) {
      return {part.as.get(), part.as->seen_as[at(layer - part.as->first)]};
    }
  }
  check_failed("every layer follows a part", SourceLine::here());
}

/// Of the option of the operator at a place of the layer.
int number_of(const Followed& from, int place) {
  return from.choices->options[at(from.layer - from.choices->graph_first)][at(place)];
}

/// Calls visit(place, operand, retention) for what the operators of a layer keep otherwise than
/// usual, of their results or of their operands.
template <typename Visit>
void for_each_retention(const Graph& graph, const Uses& uses, const Followed& from, bool results,
                        const Visit& visit) {
  if (from.choices->retention.empty()) return;
  const auto& ops = uses.ops_of_layer[at(from.layer)];
  for (std::size_t k = 0; k < ops.size(); ++k) {
    const Operator& op = graph.operators[at(ops[k])];
    const auto& tensors = results ? op.results : op.operands;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto it = from.choices->retention.find(tensors[i]);
      if (it != from.choices->retention.end()) visit(k, i, it->second);
    }
  }
}

TensorId tensor_of(const Operator& op, bool results, std::size_t i) {
  return results ? op.results[i] : op.operands[i];
}

/// The layer of the line that each seen layer of the graph stands for first.
std::vector<int> lines_of(const RunView& view) {
  std::vector<int> lines(view.counts.size(), -1);
  for (std::size_t l = 0; l < view.seen_as.size(); ++l) {
    int& line = lines[at(view.seen_as[l] - view.first)];
    if (line < 0) line = view.line_first + static_cast<int>(l);
  }
  return lines;
}

}  // namespace

std::shared_ptr<const LayerChoices> choices_of(
    const RunContext& run, const Uses& uses, const RunChoice& choice,
    const std::vector<std::pair<TensorId, Retention>>& retention) {
  auto made = std::make_shared<LayerChoices>();
  made->first = run.view.line_first;
  made->seen_as = run.view.seen_as;
  made->graph_first = run.view.first;
  made->options.resize(run.view.counts.size());
  for (const int o : run.view.ops) {
    const int layer = run.graph.operators[at(o)].layer;
    auto& of_layer = made->options[at(layer - run.view.first)];
    if (of_layer.empty()) of_layer.assign(uses.ops_of_layer[at(layer)].size(), -1);
    const Options& all = run.options.options(at(o));
    of_layer[at(uses.place[at(o)])] = static_cast<int>(choice.options[at(o)] - all.data());
  }
  made->retention.insert(retention.begin(), retention.end());
  return made;
}

std::shared_ptr<const LayerChoices> moved(LayerChoices choices, int layers) {
  choices.first += layers;
  return std::make_shared<const LayerChoices>(std::move(choices));
}

RunChoice choice_of(const RunContext& run, const Uses& uses,
                    const std::vector<ChosenLayers>& parts) {
  RunChoice choice;
  choice.options.resize(run.graph.operators.size(), nullptr);
  std::map<TensorId, Retention> retention;
  const std::vector<int> lines = lines_of(run.view);
  for (const int o : run.view.ops) {
    const int line = lines[at(run.graph.operators[at(o)].layer - run.view.first)];
    choice.options[at(o)] =
        &run.options.options(at(o))[at(number_of(followed(parts, line), uses.place[at(o)]))];
  }
  // What a layer makes is kept as that layer says; what comes from outside, as its first.
  for (const bool results : {true, false}) {
    for (int l = run.view.first; l <= run.view.last; ++l) {
      if (run.view.count(l) == 0) continue;
      const auto& ops = uses.ops_of_layer[at(l)];
      for_each_retention(run.graph, uses, followed(parts, lines[at(l - run.view.first)]), results,
                         [&](std::size_t k, std::size_t i, Retention kept) {
                           const Operator& op = run.graph.operators[at(ops[k])];
                           retention.emplace(tensor_of(op, results, i), kept);
                         });
    }
  }
  choice.retention = [&graph = run.graph, usual = StagePlan{},
                      retention = std::move(retention)](const Tensor& tensor) {
    const auto place = static_cast<int>(&tensor - graph.tensors.data());
    const auto it = retention.find(TensorId{place});
    return it == retention.end() ? retention_of(usual, tensor) : it->second;
  };
  return choice;
}

const Strategy& strategy_in(const std::vector<ChosenLayers>& parts, int layer,
                            const OperatorOptions& options, const Uses& uses, int op) {
  const int number = number_of(followed(parts, layer), uses.place[at(op)]);
  return options.options(at(op))[at(number)].strategy;
}

void name_choices(const Graph& graph, const OperatorOptions& options, const Uses& uses,
                  const Graph& some, const std::vector<int>& layers, StageAnswer& answer) {
  ALPA_CHECK(layers.size() == at(some.num_layers));
  std::vector<std::vector<int>> ops_of_layer(layers.size());
  for (std::size_t o = 0; o < some.operators.size(); ++o) {
    ops_of_layer[at(some.operators[o].layer)].push_back(static_cast<int>(o));
  }
  const auto each_layer = [&](const auto& visit) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (layers[l] < answer.parts.front().first || layers[l] > answer.parts.back().last) continue;
      visit(followed(answer.parts, layers[l]), ops_of_layer[l]);
    }
  };
  each_layer([&](const Followed& from, const std::vector<int>& ops) {
    const auto& like = uses.ops_of_layer[at(from.layer)];
    ALPA_CHECK(ops.size() == like.size());
    for (std::size_t k = 0; k < ops.size(); ++k) {
      const Operator& op = some.operators[at(ops[k])];
      if (op.copy_of.valid()) continue;  // as its original
      const int number = number_of(from, static_cast<int>(k));
      answer.strategies.emplace(op.name, renamed(options.options(at(like[k]))[at(number)].strategy,
                                                 graph.operators[at(like[k])].rule, op.rule));
    }
  });
  for (const bool results : {true, false}) {
    each_layer([&](const Followed& from, const std::vector<int>& ops) {
      for_each_retention(graph, uses, from, results,
                         [&](std::size_t k, std::size_t i, Retention kept) {
                           const TensorId t = tensor_of(some.operators[at(ops[k])], results, i);
                           answer.retention.emplace(some.tensor(t).name, kept);
                         });
    });
  }
}

std::vector<int> kinds_of_choices(const Graph& graph, const Uses& uses,
                                  const std::vector<int>& classes,
                                  const std::vector<ChosenLayers>& parts) {
  using Kept = std::tuple<bool, std::size_t, std::size_t, Retention>;
  std::map<std::tuple<int, std::vector<int>, std::vector<Kept>>, int> kinds;
  std::map<std::tuple<int, const LayerChoices*, int>, int> seen;
  std::vector<int> found;
  for (const ChosenLayers& part : parts) {
    for (int l = part.first; l <= part.last; ++l) {
      const Followed from = followed(parts, l);
      const auto [known, is_new] = seen.try_emplace({classes[at(l)], from.choices, from.layer}, 0);
      if (is_new) {
        std::vector<Kept> kept;
        for (const bool results : {true, false}) {
          for_each_retention(graph, uses, from, results,
                             [&](std::size_t k, std::size_t i, Retention retention) {
                               kept.emplace_back(results, k, i, retention);
                             });
        }
        const auto& options = from.choices->options[at(from.layer - from.choices->graph_first)];
        known->second = kinds
                            .try_emplace({classes[at(l)], options, std::move(kept)},
                                         static_cast<int>(kinds.size()))
                            .first->second;
      }
      found.push_back(known->second);
    }
  }
  return found;
}

}  // namespace alpa::intra_op
