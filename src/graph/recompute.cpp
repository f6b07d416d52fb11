#include "alpa/graph/recompute.hpp"

#include <algorithm>
#include <memory>
#include <string>

#include "alpa/base/error.hpp"

#include "validate_parts.hpp"

namespace alpa {
namespace {

constexpr const char* kPrefix = "recomputed.";

class Recomputation {
 public:
  Recomputation(const Graph& graph, std::span<const Recompute> of_layer)
      : from_(graph),
        of_layer_(of_layer),
        repeats_(graph.tensors.size()),
        tensor_(graph.tensors.size()) {
    made_.num_layers = graph.num_layers;
    made_.microbatch_size = graph.microbatch_size;
    made_.parallel_letters = graph.parallel_letters;
    made_.evaluation = graph.evaluation;
    made_.recompute.assign(of_layer.begin(), of_layer.end());
    find_repeats();
    std::size_t again = 0;
    for (const OperatorId op : repeats_) again += op.valid() ? 1 : 0;
    made_.operators.reserve(graph.operators.size() + again);
    made_.tensors.reserve(graph.tensors.size() + again);
    made_.tensors = graph.tensors;
  }

  Graph run() {
    for (const Operator& op : from_.operators) {
      Operator next = op;
      if (op.phase == Phase::backward) next.operands = read_again(op.operands);
      made_.operators.push_back(std::move(next));
    }
    return std::move(made_);
  }

 private:
  [[nodiscard]] bool chosen(const Operator& op) const {
    switch (of_layer_[static_cast<std::size_t>(op.layer)]) {
      case Recompute::none:
        return false;
      case Recompute::attention:
        return std::holds_alternative<Attention>(op.kernel);
      case Recompute::full:
        return true;
    }
    check_failed("known choice", SourceLine::here());
  }

  /// And changes nothing in place.
  [[nodiscard]] bool makes_activations(const Operator& op) const {
    return std::all_of(op.results.begin(), op.results.end(),
                       [&](TensorId t) { return from_.tensor(t).role == Role::activation; });
  }

  /// For each tensor the operator that makes it again, where it is not kept.
  void find_repeats() {
    std::vector<int> maker(from_.tensors.size(), -1);
    for (std::size_t o = 0; o < from_.operators.size(); ++o) {
      const Operator& op = from_.operators[o];
      for (const TensorId t : op.operands) {
        const int by = maker[t.index()];
        const bool border =
            by >= 0 && from_.operators[static_cast<std::size_t>(by)].layer != op.layer;
        if (border) repeats_[t.index()] = {};
      }
      if (op.phase != Phase::forward || !chosen(op) || !makes_activations(op)) continue;
      for (const TensorId t : op.results) {
        maker[t.index()] = static_cast<int>(o);
        repeats_[t.index()] = {static_cast<std::int32_t>(o)};
      }
    }
  }

  std::vector<TensorId> read_again(const std::vector<TensorId>& operands) {
    std::vector<TensorId> read = operands;
    for (TensorId& t : read) {
      if (!repeats_[t.index()].valid()) continue;
      if (!tensor_[t.index()].valid()) repeat(repeats_[t.index()]);
      t = tensor_[t.index()];
    }
    return read;
  }

  void repeat(OperatorId id) {
    const Operator& op = from_.op(id);
    Operator copy = op;
    copy.operands = read_again(op.operands);
    copy.name = kPrefix + op.name;
    copy.phase = Phase::backward;
    copy.copy_of = id;
    for (TensorId& t : copy.results) {
      Tensor tensor = from_.tensor(t);
      tensor.name = kPrefix + tensor.name;
      const TensorId next{static_cast<std::int32_t>(made_.tensors.size())};
      made_.tensors.push_back(std::move(tensor));
      tensor_[t.index()] = next;
      t = next;
    }
    made_.operators.push_back(std::move(copy));
  }

  const Graph& from_;
  std::span<const Recompute> of_layer_;
  Graph made_;
  std::vector<OperatorId> repeats_;  ///< by tensor: what makes it again; unset: it is kept
  std::vector<TensorId> tensor_;     ///< by tensor: what was made again
};

}  // namespace

std::vector<Recompute> recompute_everywhere(const Graph& graph, Recompute choice) {
  if (choice == Recompute::none) return {};
  return std::vector<Recompute>(static_cast<std::size_t>(graph.num_layers), choice);
}

Graph with_recomputation(const Graph& graph, std::span<const Recompute> of_layer) {
  ALPA_CHECK(graph.recompute.empty());
  if (!of_layer.empty() && of_layer.size() != static_cast<std::size_t>(graph.num_layers)) {
    throw PlanError("recompute: found choices for " + std::to_string(of_layer.size()) +
                    " layers, the model has " + std::to_string(graph.num_layers));
  }
  const bool nothing = std::all_of(of_layer.begin(), of_layer.end(),
                                   [](Recompute choice) { return choice == Recompute::none; });
  if (nothing) return graph;
  Graph made = Recomputation(graph, of_layer).run();
  if (graph.evaluation) {
    made.evaluation =
        std::make_shared<const Graph>(with_recomputation(*graph.evaluation, of_layer));
  }
  validate_order(made);
  return made;
}

Graph without_recomputation(const Graph& graph) {
  Graph original = graph;
  original.recompute.clear();
  original.operators.clear();
  std::vector<TensorId> kept(graph.tensors.size());
  std::size_t first = graph.tensors.size();  // of the tensors that are made again
  for (const Operator& op : graph.operators) {
    if (op.copy_of.valid()) {
      for (std::size_t r = 0; r < op.results.size(); ++r) {
        kept[op.results[r].index()] = graph.op(op.copy_of).results[r];
        first = std::min(first, op.results[r].index());
      }
      continue;
    }
    original.operators.push_back(op);
    for (TensorId& t : original.operators.back().operands) {
      if (kept[t.index()].valid()) t = kept[t.index()];
    }
  }
  original.tensors.resize(first);
  if (graph.evaluation) {
    original.evaluation = std::make_shared<const Graph>(without_recomputation(*graph.evaluation));
  }
  return original;
}

}  // namespace alpa
