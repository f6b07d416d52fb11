#include "graph_index.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "alpa/graph/aliasing.hpp"
#include "alpa/graph/kernel_work.hpp"

#include "layer_classes.hpp"
#include "operator_options.hpp"

namespace alpa::intra_op {
namespace {

bool is_state(const Tensor& tensor) {
  return tensor.role == Role::parameter || tensor.role == Role::optimizer_state;
}

/// Whatever decides about options and times; not the names.
/// @param of_tensor what stands for a tensor's shape and dtype
template <typename OfTensor>
std::string key_of(const Graph& graph, const Operator& op, const OfTensor& of_tensor) {
  std::string key = kernel_kind(op.kernel) + '|' + std::to_string(static_cast<int>(op.phase)) + '|';
  for (const Factor& f : op.rule.factors) {
    key += std::to_string(f.size) + (f.whole ? "w" : f.even ? "e" : "") + ',';
  }
  for (const FactorWindow& w : op.rule.windows) {
    key += std::to_string(op.rule.factor(w.factor)) + '~' +
           std::to_string(op.rule.factor(w.dimension)) + '~' + std::to_string(w.before) + '~' +
           std::to_string(w.after) + ',';
  }
  const PlainLetters letters(op.rule);
  letters.append(key, op.rule.operands);
  letters.append(key, op.rule.results);
  for (const auto r : op.rule.reduction) key += static_cast<char>('0' + static_cast<int>(r));
  for (const auto& group : op.rule.linear) {
    key += '(';
    for (const int i : group) key += std::to_string(i) + ' ';
  }
  key += '|' + std::to_string(op.rule.flops_per_point);
  for (const auto* list : {&op.operands, &op.results}) {
    for (const TensorId t : *list) {
      const Tensor& tensor = graph.tensor(t);
      key += '|' + of_tensor(t) + (is_scalar(tensor) ? "s" : "") + (is_state(tensor) ? "p" : "");
    }
  }
  if (is_sum_of_accumulators(graph, op)) key += "sum";
  return key;
}

/// How far what a layer makes or holds is read.
std::vector<int> reaches(const Graph& graph, const Uses& uses) {
  std::vector<int> reach(static_cast<std::size_t>(graph.num_layers), 0);
  for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
    const Tensor& tensor = graph.tensors[t];
    if (is_scalar(tensor) || tensor.role == Role::input) continue;
    const int maker = uses.maker[t].first;
    const int layer =
        maker < 0 ? tensor.layer : graph.operators[static_cast<std::size_t>(maker)].layer;
    int& farthest = reach[static_cast<std::size_t>(layer)];
    for (const auto& [reader, operand] : uses.readers[t]) {
      const int at = graph.operators[static_cast<std::size_t>(reader)].layer;
      farthest = std::max(farthest, std::abs(at - layer));
    }
  }
  return reach;
}

}  // namespace

bool is_scalar(const Tensor& tensor) {
  return tensor.role == Role::step_scalar || tensor.role == Role::global_scalar;
}

bool is_sum_of_accumulators(const Graph& graph, const Operator& op) {
  return op.phase == Phase::reduce && is_sum(op.kernel) &&
         std::all_of(op.operands.begin(), op.operands.end(),
                     [&](TensorId t) { return graph.tensor(t).role == Role::accumulator; });
}

char PlainLetters::of(char letter) const {
  const int f = rule_.factor(letter);
  return f < 0 ? letter : static_cast<char>('A' + f);
}

void PlainLetters::append(std::string& key, const std::vector<Dims>& all) const {
  for (const Dims& dims : all) {
    for (const char c : dims) key += of(c);
    key += ',';
  }
  key += ';';
}

void PlainLetters::append(std::string& key, Strategy strategy) const {
  for (AxisUse& use : strategy.uses) use.factor = of(use.factor);
  key += '/' + to_string(strategy);
}

Uses::Uses(const Graph& graph)
    : readers(graph.tensors.size()),
      maker(graph.tensors.size(), {-1, -1}),
      ops_of_layer(static_cast<std::size_t>(graph.num_layers)),
      originals_of_layer(static_cast<std::size_t>(graph.num_layers)),
      original_place(graph.operators.size(), -1) {
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    auto& of_layer = ops_of_layer[static_cast<std::size_t>(op.layer)];
    place.push_back(static_cast<int>(of_layer.size()));
    of_layer.push_back(static_cast<int>(o));
    if (op.copy_of.valid()) {
      original_place[o] = original_place[op.copy_of.index()];
    } else {
      auto& originals = originals_of_layer[static_cast<std::size_t>(op.layer)];
      original_place[o] = static_cast<int>(originals.size());
      originals.push_back(static_cast<int>(o));
    }
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      readers[op.operands[i].index()].emplace_back(static_cast<int>(o), static_cast<int>(i));
    }
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      maker[op.results[r].index()] = {static_cast<int>(o), static_cast<int>(r)};
    }
  }
}

GraphIndex::GraphIndex(const Graph& graph, LayerLine layers, const GraphIndex* beside,
                       const GraphIndex* alike)
    : line(std::move(layers)),
      uses(graph),
      reach(reaches(graph, uses)),
      parameters(static_cast<std::size_t>(graph.num_layers)),
      layouts(beside != nullptr ? beside->layouts : std::make_shared<LayoutTables>()),
      option_lists(beside != nullptr ? beside->option_lists : std::make_shared<OptionLists>()) {
  std::map<std::pair<Shape, DType>, int> classes;
  for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
    const Tensor& tensor = graph.tensors[t];
    const auto [it, is_new] =
        classes.try_emplace({tensor.shape, tensor.dtype}, static_cast<int>(tensor_of_class.size()));
    if (is_new) tensor_of_class.emplace_back(static_cast<int>(t));
    tensor_class.push_back(it->second);
    if (tensor.role == Role::parameter) {
      parameters[static_cast<std::size_t>(tensor.layer)].emplace_back(static_cast<int>(t));
    }
  }
  std::map<std::string, int> numbers, lists;
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    const Operator& op = graph.operators[o];
    std::string key =
        key_of(graph, op, [&](TensorId t) { return std::to_string(tensor_class[t.index()]); });
    op_class.push_back(numbers.try_emplace(key, static_cast<int>(numbers.size())).first->second);
    for (const Factor& f : op.rule.factors) key += f.name;
    const auto [it, is_new] =
        lists.try_emplace(std::move(key), static_cast<int>(op_of_list.size()));
    if (is_new) {
      op_of_list.push_back(static_cast<int>(o));
      auto& text = key_of_list.emplace_back(key_of(graph, op, [&](TensorId t) {
        const Tensor& tensor = graph.tensor(t);
        return to_string(tensor.shape) + std::to_string(static_cast<int>(tensor.dtype));
      }));
      for (const Factor& f : op.rule.factors) text += f.name;
    }
    op_list.push_back(it->second);
  }
  layer_class =
      alike != nullptr ? alike->layer_class : layer_classes(graph, uses, tensor_class, op_class);
}

}  // namespace alpa::intra_op
