#include "alpa/graph/graph.hpp"

#include "alpa/base/text_hash.hpp"
#include "alpa/graph/recompute.hpp"

#include "text_lines.hpp"

namespace alpa {

std::optional<TensorId> Graph::find_tensor(const std::string& name) const {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].name == name) return TensorId{static_cast<std::int32_t>(i)};
  }
  return std::nullopt;
}

std::vector<TensorId> tensors_with(const Graph& graph, Role role) {
  std::vector<TensorId> found;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    if (graph.tensors[i].role == role) found.push_back({static_cast<std::int32_t>(i)});
  }
  return found;
}

Flops flops_of(const Operator& op) {
  double points = op.rule.flops_per_point;
  for (const Factor& factor : op.rule.factors) {
    if (factor.counted) points *= static_cast<double>(factor.size);
  }
  return {points};
}

Flops flops_per_microbatch(const Graph& graph) {
  Flops sum;
  for (const Operator& op : graph.operators) {
    if (op.copy_of.valid()) continue;
    if (op.phase == Phase::forward || op.phase == Phase::backward) sum += flops_of(op);
  }
  return sum;
}

Flops recomputed_flops_per_microbatch(const Graph& graph) {
  Flops sum;
  for (const Operator& op : graph.operators) {
    if (op.copy_of.valid()) sum += flops_of(op);
  }
  return sum;
}

std::int64_t num_parameters(const Graph& graph) {
  std::int64_t count = 0;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.role == Role::parameter && tensor.trained) count += num_elements(tensor.shape);
  }
  return count;
}

std::uint64_t fingerprint(const Graph& graph) {
  if (!graph.recompute.empty()) return fingerprint(without_recomputation(graph));
  TextHash hash;
  const auto add = [&](std::string_view line) { hash.add(line); };
  each_line(graph, add);
  if (graph.evaluation) each_line(*graph.evaluation, add);
  return hash.value();
}

}  // namespace alpa
