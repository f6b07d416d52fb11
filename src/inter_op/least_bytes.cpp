#include "least_bytes.hpp"

#include <algorithm>

namespace alpa {
namespace {

bool lives_all_step(Role role) {
  return role == Role::parameter || role == Role::accumulator || role == Role::optimizer_state;
}

/// Gradient sums that are added to another's before the update: all may lie in that one's buffer.
std::vector<bool> added_up(const Graph& graph) {
  std::vector<bool> added(graph.tensors.size(), false);
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::reduce || op.operands.size() < 2) continue;
    for (std::size_t i = 1; i < op.operands.size(); ++i) {
      added[op.operands[i].index()] = graph.tensor(op.operands[i]).role == Role::accumulator;
    }
  }
  return added;
}

struct ByLayer {
  std::vector<double> state, stash;
};

/// Of the layers that the graph holds. What forward makes is the last reading layer's, if backward
/// of that one reads it: whatever others compute again.
ByLayer bytes_by_layer(const Graph& graph) {
  ByLayer bytes;
  bytes.state.assign(static_cast<std::size_t>(graph.num_layers), 0.0);
  bytes.stash = bytes.state;
  std::vector<int> keeper(graph.tensors.size(), -1);
  std::vector<bool> kept(graph.tensors.size(), false);
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward && op.phase != Phase::backward) continue;
    for (const TensorId t : op.operands) {
      int& layer = keeper[t.index()];
      if (op.layer > layer) kept[t.index()] = false;
      layer = std::max(layer, op.layer);
      if (op.layer == layer && op.phase == Phase::backward) kept[t.index()] = true;
    }
  }
  const std::vector<bool> added = added_up(graph);
  std::vector<bool> made(graph.tensors.size(), false);
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward) continue;
    for (const TensorId t : op.results) made[t.index()] = true;
  }
  for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
    const Tensor& tensor = graph.tensors[t];
    const auto size = static_cast<double>(bytes_of(tensor.shape, tensor.dtype).value);
    if (lives_all_step(tensor.role) && !added[t])
      bytes.state[static_cast<std::size_t>(tensor.layer)] += size;
    if (tensor.role == Role::activation && made[t] && kept[t]) {
      bytes.stash[static_cast<std::size_t>(keeper[t])] += size;
    }
  }
  return bytes;
}

/// Of those before each.
std::vector<double> sums_of(const std::vector<double>& by_layer) {
  std::vector<double> sums{0.0};
  for (const double bytes : by_layer) sums.push_back(sums.back() + bytes);
  return sums;
}

std::vector<double> on_line(const std::vector<double>& by_graph_layer, const LayerLine& line) {
  std::vector<double> all;
  for (int l = 0; l < line.length(); ++l) {
    all.push_back(by_graph_layer[static_cast<std::size_t>(line.like(l))]);
  }
  return all;
}

std::vector<double> least_of(std::vector<double> least, const std::vector<double>& other) {
  for (std::size_t l = 0; l < least.size(); ++l) least[l] = std::min(least[l], other[l]);
  return least;
}

LeastBytes of_line(const std::vector<const Graph*>& graphs, const LayerLine& line) {
  std::vector<double> state;
  std::vector<std::vector<double>> stashes;
  for (const Graph* graph : graphs) {
    const ByLayer bytes = bytes_by_layer(*graph);
    const std::vector<double> of_graph = on_line(bytes.state, line);
    state = state.empty() ? of_graph : least_of(std::move(state), of_graph);
    stashes.push_back(on_line(bytes.stash, line));
  }
  return {state, stashes};
}

}  // namespace

LeastBytes::LeastBytes(const std::vector<double>& state,
                       const std::vector<std::vector<double>>& stashes)
    : state_(sums_of(state)) {
  std::vector<double> least = stashes.front();
  for (const std::vector<double>& stash : stashes) {
    least = least_of(std::move(least), stash);
    stashes_.push_back(sums_of(stash));
  }
  stash_ = sums_of(least);
}

LeastBytes::LeastBytes(const std::vector<const Graph*>& graphs, const LayerLine& line)
    : LeastBytes(of_line(graphs, line)) {}

}  // namespace alpa
