#pragma once

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "law/models.hpp"

/// What a rank of a method executes and holds, as the field writes it on the back of an envelope,
/// from nothing but the graph's tensors; and the comparison with what programs say.
namespace alpa::law {

/// Figures of one rank and step. Collectives that are not named are expected not to happen.
struct ClosedForm {
  double flops = 0;
  double parameters = 0, gradients = 0, optimizer = 0;  ///< bytes
  std::map<std::string, double> bytes;                  ///< sent, by kind
  std::map<std::string, std::int64_t> counts;           ///< of collectives, by kind
};

/// Programs of all ranks of a plan, in figures.
inline std::vector<ProgramTotals> figures_of(const Case& test, const Plan& plan) {
  const Graph graph = graph_of(test, plan);
  std::vector<ProgramTotals> all;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    all.push_back(totals(lower(graph, plan, rank, no_workspace).step));
  }
  return all;
}

/// Where found figures are not the closed form; empty if they are.
inline std::vector<std::string> mismatches(const ProgramTotals& found, const ClosedForm& form) {
  std::vector<std::string> wrong;
  const auto compare = [&](const std::string& what, double value, double expected) {
    if (std::abs(value - expected) <= 1e-9 * std::max(1.0, std::abs(expected))) return;
    wrong.push_back(what + ": found " + std::to_string(value) + ", expected " +
                    std::to_string(expected));
  };
  const auto memory = [&](MemoryClass c) {
    return static_cast<double>(found.memory[static_cast<std::size_t>(c)].value);
  };
  compare("flops", found.flops, form.flops);
  compare("parameters", memory(MemoryClass::parameters), form.parameters);
  compare("gradients", memory(MemoryClass::gradients), form.gradients);
  compare("optimizer", memory(MemoryClass::optimizer), form.optimizer);
  std::map<std::string, double> bytes(found.bytes_sent.begin(), found.bytes_sent.end());
  std::map<std::string, std::int64_t> counts(found.counts.begin(), found.counts.end());
  for (const auto& [kind, expected] : form.bytes) compare(kind + " bytes", bytes[kind], expected);
  for (const auto& [kind, expected] : form.counts) {
    compare(kind + " count", static_cast<double>(counts[kind]), static_cast<double>(expected));
  }
  for (const auto& [kind, count] : counts) {
    if (count != 0 && !form.bytes.contains(kind)) wrong.push_back(kind + ": not expected");
  }
  return wrong;
}

/// Bytes of tensors of a graph.
class Sizes {
 public:
  explicit Sizes(const Graph& graph) : graph_(graph) {}

  /// Sum over the tensors of a role for which `wanted` holds.
  template <class F>
  [[nodiscard]] double of(Role role, const F& wanted) const {
    double sum = 0;
    for (const TensorId t : tensors_with(graph_, role)) {
      const Tensor& tensor = graph_.tensor(t);
      if (wanted(t)) sum += static_cast<double>(bytes_of(tensor.shape, tensor.dtype).value);
    }
    return sum;
  }
  [[nodiscard]] double of(Role role) const {
    return of(role, [](TensorId) { return true; });
  }
  [[nodiscard]] std::int64_t count(Role role) const {
    return static_cast<std::int64_t>(tensors_with(graph_, role).size());
  }

  /// Parameters and replicas that operators of the phase read.
  [[nodiscard]] double read_in(Phase phase) const {
    std::set<TensorId> seen;
    for (const Operator& op : graph_.operators) {
      if (op.phase == phase) seen.insert(op.operands.begin(), op.operands.end());
    }
    const auto read = [&](TensorId t) { return seen.contains(t); };
    return of(Role::parameter, read) + of(Role::replica, read);
  }

  [[nodiscard]] double flops(int first_layer, int last_layer) const {
    double sum = 0;
    for (const Operator& op : graph_.operators) {
      if (first_layer <= op.layer && op.layer <= last_layer) sum += flops_of(op).value;
    }
    return sum;
  }

 private:
  const Graph& graph_;
};

}  // namespace alpa::law
