#include "layer_choices.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"

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

/// Calls visit(tensor, retention) for what the operators of a layer keep otherwise than usual,
/// of their results or of their operands.
template <typename Visit>
void for_each_retention(const Graph& graph, const Uses& uses, const Followed& from, int layer,
                        bool results, const Visit& visit) {
  if (from.choices->retention.empty()) return;
  const auto& here = uses.ops_of_layer[at(layer)];
  const auto& there = uses.ops_of_layer[at(from.layer)];
  for (std::size_t k = 0; k < here.size(); ++k) {
    const Operator& op = graph.operators[at(here[k])];
    const Operator& like = graph.operators[at(there[k])];
    const auto& tensors = results ? op.results : op.operands;
    const auto& tensors_like = results ? like.results : like.operands;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto it = from.choices->retention.find(tensors_like[i]);
      if (it != from.choices->retention.end()) visit(tensors[i], it->second);
    }
  }
}

}  // namespace

std::shared_ptr<const LayerChoices> choices_of(
    const RunContext& run, const Uses& uses, const RunChoice& choice,
    const std::vector<std::pair<TensorId, Retention>>& retention) {
  auto made = std::make_shared<LayerChoices>();
  made->first = run.view.first;
  made->seen_as = run.view.seen_as;
  made->options.resize(run.view.seen_as.size());
  for (const int o : run.view.ops) {
    const auto layer = at(run.graph.operators[at(o)].layer - run.view.first);
    auto& of_layer = made->options[layer];
    if (of_layer.empty()) of_layer.assign(uses.ops_of_layer[layer + at(run.view.first)].size(), -1);
    const Options& all = run.options.options(at(o));
    of_layer[at(uses.place[at(o)])] = static_cast<int>(choice.options[at(o)] - all.data());
  }
  made->retention.insert(retention.begin(), retention.end());
  return made;
}

RunChoice choice_of(const RunContext& run, const Uses& uses,
                    const std::vector<ChosenLayers>& parts) {
  RunChoice choice;
  choice.options.resize(run.graph.operators.size(), nullptr);
  std::map<TensorId, Retention> retention;
  for (const int o : run.view.ops) {
    const Followed from = followed(parts, run.graph.operators[at(o)].layer);
    const int number =
        from.choices->options[at(from.layer - from.choices->first)][at(uses.place[at(o)])];
    choice.options[at(o)] = &run.options.options(at(o))[at(number)];
  }
  // What a layer makes is kept as that layer says; what comes from outside, as its first.
  for (const bool results : {true, false}) {
    for (int l = run.view.first; l <= run.view.last; ++l) {
      if (run.view.count(l) == 0) continue;
      for_each_retention(run.graph, uses, followed(parts, l), l, results,
                         [&](TensorId t, Retention kept) { retention.emplace(t, kept); });
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

void name_choices(const Graph& graph, const OperatorOptions& options, const Uses& uses,
                  StageAnswer& answer) {
  for (const ChosenLayers& part : answer.parts) {
    for (int l = part.first; l <= part.last; ++l) {
      const Followed from = followed(answer.parts, l);
      const auto& ops = uses.ops_of_layer[at(l)];
      for (std::size_t k = 0; k < ops.size(); ++k) {
        const Operator& op = graph.operators[at(ops[k])];
        if (op.copy_of.valid()) continue;  // as its original
        const int number = from.choices->options[at(from.layer - from.choices->first)][k];
        answer.strategies.emplace(op.name, options.options(at(ops[k]))[at(number)].strategy);
      }
    }
  }
  for (const bool results : {true, false}) {
    for (const ChosenLayers& part : answer.parts) {
      for (int l = part.first; l <= part.last; ++l) {
        for_each_retention(graph, uses, followed(answer.parts, l), l, results,
                           [&](TensorId t, Retention kept) {
                             answer.retention.emplace(graph.tensor(t).name, kept);
                           });
      }
    }
  }
}

}  // namespace alpa::intra_op
