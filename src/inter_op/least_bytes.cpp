#include "least_bytes.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include "alpa/graph/aliasing.hpp"

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
  std::vector<double> state, stash, transient;
};

double size_of(const Tensor& tensor) {
  return static_cast<double>(bytes_of(tensor.shape, tensor.dtype).value);
}

/// Copies of parameters that microbatches of their own layer read: they, or what is made of them in
/// `prepare`, live all step, unless they are another name of the parameter.
std::vector<bool> read_all_step(const Graph& graph) {
  std::vector<bool> read(graph.tensors.size(), false);
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward && op.phase != Phase::backward) continue;
    for (const TensorId t : op.operands) {
      const Tensor& tensor = graph.tensor(t);
      if (tensor.role == Role::replica && tensor.layer == op.layer) read[t.index()] = true;
    }
  }
  for (const Operator& op : graph.operators) {
    if (is_copy(op.kernel) &&
        graph.tensor(op.operands[0]).dtype == graph.tensor(op.results[0]).dtype)
      read[op.results[0].index()] = false;
  }
  return read;
}

/// [tensor] the first layer whose microbatches read an input; -1: none, or no input.
std::vector<int> readers_of_inputs(const Graph& graph) {
  std::vector<int> reader(graph.tensors.size(), -1);
  for (const Operator& op : graph.operators) {
    for (const TensorId t : op.operands) {
      int& layer = reader[t.index()];
      if (graph.tensor(t).role != Role::input) continue;
      layer = layer < 0 ? op.layer : std::min(layer, op.layer);
    }
  }
  return reader;
}

/// Values that live within forward or within backward whatever other layers compute again: what
/// forward of a layer makes for itself alone, and all that backward makes.
std::vector<bool> in_one_phase(const Graph& graph) {
  std::vector<int> layer(graph.tensors.size(), -1);
  std::vector<bool> passes(graph.tensors.size(), false);
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward && op.phase != Phase::backward) continue;
    for (const TensorId t : op.results) {
      const Role role = graph.tensor(t).role;
      passes[t.index()] = role == Role::activation || role == Role::gradient;
      if (op.phase == Phase::forward) layer[t.index()] = op.layer;
    }
  }
  for (const Operator& op : graph.operators) {
    for (const TensorId t : op.operands) {
      const bool own = op.phase == Phase::forward && op.layer == layer[t.index()];
      if (layer[t.index()] >= 0 && !own) passes[t.index()] = false;
    }
  }
  return passes;
}

/// The most of such values that meet at one operator of each layer: each from the operator that
/// makes it or, from another layer, the first that reads it, to the last that reads it there.
std::vector<double> transients_of(const Graph& graph) {
  const std::vector<bool> passes = in_one_phase(graph);
  std::vector<double> most(static_cast<std::size_t>(graph.num_layers), 0.0);
  for (const Phase phase : {Phase::forward, Phase::backward}) {
    std::vector<std::vector<const Operator*>> of_layer(most.size());
    for (const Operator& op : graph.operators) {
      if (op.phase == phase) of_layer[static_cast<std::size_t>(op.layer)].push_back(&op);
    }
    for (std::size_t l = 0; l < most.size(); ++l) {
      std::map<TensorId, std::pair<std::size_t, std::size_t>> lives;
      for (std::size_t k = 0; k < of_layer[l].size(); ++k) {
        for (const auto* tensors : {&of_layer[l][k]->operands, &of_layer[l][k]->results}) {
          for (const TensorId t : *tensors) {
            if (passes[t.index()]) lives.try_emplace(t, k, k).first->second.second = k;
          }
        }
      }
      std::vector<double> change(of_layer[l].size() + 1, 0.0);
      for (const auto& [t, life] : lives) {
        change[life.first] += size_of(graph.tensor(t));
        change[life.second + 1] -= size_of(graph.tensor(t));
      }
      double live = 0.0;
      for (const double bytes : change) most[l] = std::max(most[l], live += bytes);
    }
  }
  return most;
}

/// Of the layers that the graph holds. What forward makes is the last reading layer's, if backward
/// of that one reads it: whatever others compute again.
ByLayer bytes_by_layer(const Graph& graph, int microbatches) {
  ByLayer bytes;
  bytes.state.assign(static_cast<std::size_t>(graph.num_layers), 0.0);
  bytes.stash = bytes.state;
  bytes.transient = transients_of(graph);
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
  const std::vector<bool> read = read_all_step(graph);
  const std::vector<int> reader = readers_of_inputs(graph);
  std::vector<bool> made(graph.tensors.size(), false);
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward) continue;
    for (const TensorId t : op.results) made[t.index()] = true;
  }
  for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
    const Tensor& tensor = graph.tensors[t];
    const double size = size_of(tensor);
    if ((lives_all_step(tensor.role) && !added[t]) || read[t])
      bytes.state[static_cast<std::size_t>(tensor.layer)] += size;
    if (reader[t] >= 0) bytes.state[static_cast<std::size_t>(reader[t])] += microbatches * size;
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

LeastBytes of_line(const std::vector<const Graph*>& graphs, const LayerLine& line, int microbatches,
                   bool whole_backward) {
  std::vector<double> state;
  std::vector<std::vector<double>> stashes, transients;
  for (const Graph* graph : graphs) {
    const ByLayer bytes = bytes_by_layer(*graph, microbatches);
    const std::vector<double> of_graph = on_line(bytes.state, line);
    state = state.empty() ? of_graph : least_of(std::move(state), of_graph);
    stashes.push_back(on_line(bytes.stash, line));
    transients.push_back(on_line(bytes.transient, line));
    if (!whole_backward) transients.back().assign(transients.back().size(), 0.0);
  }
  return {state, stashes, transients};
}

}  // namespace

LeastBytes::LeastBytes(const std::vector<double>& state,
                       const std::vector<std::vector<double>>& stashes,
                       std::vector<std::vector<double>> transients)
    : state_(sums_of(state)), transients_(std::move(transients)) {
  std::vector<double> least = stashes.front();
  for (const std::vector<double>& stash : stashes) {
    least = least_of(std::move(least), stash);
    stashes_.push_back(sums_of(stash));
  }
  stash_ = sums_of(least);
  most_transient_.push_back(transients_.front());
  for (const std::vector<double>& of_way : transients_) {
    most_transient_.front() = least_of(std::move(most_transient_.front()), of_way);
  }
  for (std::size_t half = 1; 2 * half <= state.size(); half *= 2) {
    const std::vector<double>& before = most_transient_.back();
    std::vector<double> most;
    for (std::size_t l = 0; l + half < before.size(); ++l) {
      most.push_back(std::max(before[l], before[l + half]));
    }
    most_transient_.push_back(std::move(most));
  }
}

double LeastBytes::transient(int first, int last) const {
  const auto length = static_cast<unsigned>(last - first + 1);
  const std::size_t k = std::bit_width(length) - 1U;
  const std::vector<double>& most = most_transient_[k];
  return std::max(most[static_cast<std::size_t>(first)],
                  most[static_cast<std::size_t>(last) + 1 - (std::size_t{1} << k)]);
}

LeastBytes::LeastBytes(const std::vector<const Graph*>& graphs, const LayerLine& line,
                       int microbatches, bool whole_backward)
    : LeastBytes(of_line(graphs, line, microbatches, whole_backward)) {}

}  // namespace alpa
