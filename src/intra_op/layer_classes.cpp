#include "layer_classes.hpp"

#include <map>
#include <set>
#include <string>

namespace alpa::intra_op {
namespace {

/// A layer in full, but for names and for what other layers do with what they share with it: equal
/// texts are equal layers.
class LayerText {
 public:
  LayerText(const Graph& graph, const Uses& uses, const std::vector<int>& tensor_class,
            const std::vector<int>& op_class, int layer)
      : graph_(graph),
        uses_(uses),
        tensor_class_(tensor_class),
        op_class_(op_class),
        layer_(layer) {
    for (const int o : uses.ops_of_layer[static_cast<std::size_t>(layer)]) describe(o);
  }

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void add(int number) { text_ += std::to_string(number) + ','; }

  void describe(int o) {
    const Operator& op = graph_.operators[static_cast<std::size_t>(o)];
    text_ += '\n';
    add(op_class_[static_cast<std::size_t>(o)]);
    add(static_cast<int>(op.phase));
    if (op.copy_of.valid()) add(uses_.place[op.copy_of.index()]);
    for (const TensorId t : op.operands) tensor(t);
    text_ += '>';
    for (const TensorId t : op.results) {
      tensor(t);
      if (is_scalar(graph_.tensor(t))) continue;  // every layer's
      std::set<int> distances;
      for (const auto& [reader, operand] : uses_.readers[t.index()]) {
        distances.insert(graph_.operators[static_cast<std::size_t>(reader)].layer - layer_);
      }
      for (const int d : distances) add(d);
    }
  }

  /// Which tensor: the number of its first appearance in the layer; then what it is.
  void tensor(TensorId t) {
    const Tensor& tensor = graph_.tensor(t);
    text_ += '(';
    if (is_scalar(tensor)) {
      text_ += tensor.name + ')';
      return;
    }
    add(number_.try_emplace(t, static_cast<int>(number_.size())).first->second);
    add(static_cast<int>(tensor.role));
    add(tensor_class_[t.index()]);
    const auto [maker, result] = uses_.maker[t.index()];
    const int layer =
        maker < 0 ? tensor.layer : graph_.operators[static_cast<std::size_t>(maker)].layer;
    if (maker >= 0 && layer == layer_) {
      add(uses_.place[static_cast<std::size_t>(maker)]);
      add(result);
    } else {
      text_ += 'd';
      add(layer - layer_);
    }
    text_ += ')';
  }

  const Graph& graph_;
  const Uses& uses_;
  const std::vector<int>& tensor_class_;
  const std::vector<int>& op_class_;
  int layer_;
  std::map<TensorId, int> number_;
  std::string text_;
};

}  // namespace

std::vector<int> layer_classes(const Graph& graph, const Uses& uses,
                               const std::vector<int>& tensor_class,
                               const std::vector<int>& op_class) {
  std::map<std::string, int> known;
  std::vector<int> classes;
  for (int l = 0; l < graph.num_layers; ++l) {
    const LayerText layer(graph, uses, tensor_class, op_class, l);
    classes.push_back(
        known.try_emplace(layer.text(), static_cast<int>(known.size())).first->second);
  }
  return classes;
}

}  // namespace alpa::intra_op
