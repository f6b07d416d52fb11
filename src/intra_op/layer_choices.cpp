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

const LayerChoices::Layer& layer_of(const Followed& from) {
  return from.choices->layers[at(from.layer - from.choices->graph_first)];
}

/// Calls visit(place, retention) for what the operators of a layer keep otherwise than usual, of
/// their results or of their operands.
template <typename Visit>
void for_each_retention(const Followed& from, bool results, const Visit& visit) {
  const LayerChoices::Layer& layer = layer_of(from);
  for (const auto& [place, kept] : results ? layer.of_results : layer.of_operands) {
    visit(place, kept);
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
  made->layers.resize(run.view.counts.size());
  const std::map<TensorId, Retention> kept(retention.begin(), retention.end());
  for (const int o : run.view.ops) {
    const Operator& op = run.graph.operators[at(o)];
    if (op.copy_of.valid()) continue;
    LayerChoices::Layer& layer = made->layers[at(op.layer - run.view.first)];
    layer.options.resize(uses.originals_of_layer[at(op.layer)].size(), -1);
    const int place = uses.original_place[at(o)];
    const Options& all = run.options.options(at(o));
    layer.options[at(place)] = static_cast<int>(choice.options[at(o)] - all.data());
    if (kept.empty()) continue;
    for (const bool results : {true, false}) {
      const auto& tensors = results ? op.results : op.operands;
      auto& places = results ? layer.of_results : layer.of_operands;
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto it = kept.find(tensors[i]);
        if (it != kept.end()) places.emplace(LayerChoices::Place{place, i}, it->second);
      }
    }
  }
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
    const int number = layer_of(followed(parts, line)).options[at(uses.original_place[at(o)])];
    choice.options[at(o)] = &run.options.options(at(o))[at(number)];
  }
  // What a layer makes is kept as that layer says; what comes from outside, as its first.
  for (const bool results : {true, false}) {
    for (int l = run.view.first; l <= run.view.last; ++l) {
      if (run.view.count(l) == 0) continue;
      const auto& ops = uses.originals_of_layer[at(l)];
      for_each_retention(followed(parts, lines[at(l - run.view.first)]), results,
                         [&](const LayerChoices::Place& place, Retention kept) {
                           const Operator& op = run.graph.operators[at(ops[at(place.op)])];
                           retention.emplace(tensor_of(op, results, place.i), kept);
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
  const int number = layer_of(followed(parts, layer)).options[at(uses.original_place[at(op)])];
  return options.options(at(op))[at(number)].strategy;
}

void name_choices(const Graph& graph, const OperatorOptions& options, const Uses& uses,
                  const Graph& some, const std::vector<int>& layers, StageAnswer& answer) {
  ALPA_CHECK(layers.size() == at(some.num_layers));
  std::vector<std::vector<int>> ops_of_layer(layers.size());
  for (std::size_t o = 0; o < some.operators.size(); ++o) {
    if (some.operators[o].copy_of.valid()) continue;  // as its original
    ops_of_layer[at(some.operators[o].layer)].push_back(static_cast<int>(o));
  }
  const auto each_layer = [&](const auto& visit) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (layers[l] < answer.parts.front().first || layers[l] > answer.parts.back().last) continue;
      visit(followed(answer.parts, layers[l]), ops_of_layer[l]);
    }
  };
  each_layer([&](const Followed& from, const std::vector<int>& ops) {
    const auto& like = uses.originals_of_layer[at(from.layer)];
    ALPA_CHECK(ops.size() == like.size());
    for (std::size_t k = 0; k < ops.size(); ++k) {
      const Operator& op = some.operators[at(ops[k])];
      const int number = layer_of(from).options[k];
      answer.strategies.emplace(op.name, renamed(options.options(at(like[k]))[at(number)].strategy,
                                                 graph.operators[at(like[k])].rule, op.rule));
    }
  });
  for (const bool results : {true, false}) {
    each_layer([&](const Followed& from, const std::vector<int>& ops) {
      for_each_retention(from, results, [&](const LayerChoices::Place& place, Retention kept) {
        const TensorId t = tensor_of(some.operators[at(ops[at(place.op)])], results, place.i);
        answer.retention.emplace(some.tensor(t).name, kept);
      });
    });
  }
}

std::vector<int> kinds_of_choices(const std::vector<int>& classes,
                                  const std::vector<ChosenLayers>& parts) {
  std::map<std::pair<int, LayerChoices::Layer>, int> kinds;
  std::map<std::tuple<int, const LayerChoices*, int>, int> seen;
  std::vector<int> found;
  for (const ChosenLayers& part : parts) {
    for (int l = part.first; l <= part.last; ++l) {
      const Followed from = followed(parts, l);
      const auto [known, is_new] = seen.try_emplace({classes[at(l)], from.choices, from.layer}, 0);
      if (is_new) {
        const auto next = static_cast<int>(kinds.size());
        known->second = kinds.try_emplace({classes[at(l)], layer_of(from)}, next).first->second;
      }
      found.push_back(known->second);
    }
  }
  return found;
}

}  // namespace alpa::intra_op
