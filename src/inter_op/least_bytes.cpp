#include "least_bytes.hpp"

namespace alpa {
namespace {

bool lives_all_step(Role role) {
  return role == Role::parameter || role == Role::accumulator || role == Role::optimizer_state;
}

}  // namespace

std::vector<double> LeastBytes::sums(const std::vector<double>& by_layer, const LayerLine& line) {
  std::vector<double> sums{0.0};
  for (int l = 0; l < line.length(); ++l) {
    sums.push_back(sums.back() + by_layer[static_cast<std::size_t>(line.like(l))]);
  }
  return sums;
}

LeastBytes::LeastBytes(const Graph& graph, const LayerLine& line) {
  std::vector<double> state(static_cast<std::size_t>(graph.num_layers), 0.0);
  std::vector<double> stash = state;
  const auto add = [](std::vector<double>& to, int layer, const Tensor& tensor) {
    to[static_cast<std::size_t>(layer)] +=
        static_cast<double>(bytes_of(tensor.shape, tensor.dtype).value);
  };
  std::vector<bool> kept(graph.tensors.size(), false);  // made in forward, no reader seen yet
  for (const Tensor& tensor : graph.tensors) {
    if (lives_all_step(tensor.role)) add(state, tensor.layer, tensor);
  }
  for (const Operator& op : graph.operators) {
    if (op.phase == Phase::forward) {
      for (const TensorId t : op.results) {
        kept[t.index()] = graph.tensor(t).role == Role::activation;
      }
    }
    if (op.phase != Phase::backward) continue;
    for (const TensorId t : op.operands) {
      // What another stage has sent is kept here, too.
      if (!kept[t.index()]) continue;
      kept[t.index()] = false;
      add(stash, op.layer, graph.tensor(t));
    }
  }
  state_ = sums(state, line);
  stash_ = sums(stash, line);
}

}  // namespace alpa
