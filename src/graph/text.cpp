#include "alpa/graph/text.hpp"

#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa {
namespace {

std::string joined(const std::vector<Dims>& all) {
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    text += (i == 0 ? "" : ",") + (all[i].empty() ? std::string("1") : all[i]);
  }
  return text;
}

std::string names(const Graph& graph, const std::vector<TensorId>& tensors) {
  std::string text;
  for (const TensorId id : tensors) text += (text.empty() ? "" : ", ") + graph.tensor(id).name;
  return text;
}

std::string to_text(const Initializer& initializer) {
  return initializer.kind == Initializer::Kind::constant
             ? " constant=" + operators::number(initializer.value)
             : " normal=" + operators::number(initializer.deviation);
}

std::string line_of(const Tensor& tensor) {
  std::string text = tensor.name + ": " + std::string(to_string(tensor.role)) + " " +
                     std::string(to_string(tensor.dtype)) + to_string(tensor.shape) + " " +
                     tensor.dims + " layer=" + std::to_string(tensor.layer);
  if (tensor.role == Role::parameter) text += to_text(tensor.initializer);
  if (!tensor.trained) text += " kept";
  return text + "\n";
}

/// The rule, for operators whose rule is not that of their kernel.
std::string to_text(const ShardingRule& rule) {
  std::string text = joined(rule.operands) + "->" + joined(rule.results);
  for (const Factor& f : rule.factors) {
    text += std::string(" ") + f.name + "=" + std::to_string(f.size) +
            (f.whole  ? "!"
             : f.even ? "="
                      : "");
  }
  for (const FactorWindow& w : rule.windows) {
    text += std::string(" ") + w.factor + "~" + w.dimension + "-" + std::to_string(w.before) + "+" +
            std::to_string(w.after);
  }
  for (const auto& group : rule.linear) {
    text += " linear";
    for (const int i : group) text += ":" + std::to_string(i);
  }
  for (const auto r : rule.reduction) text += " reduction=" + std::to_string(static_cast<int>(r));
  return text;
}

std::string line_of(const Graph& graph, const Operator& op) {
  const std::size_t rank = op.results.empty() ? 0 : graph.tensor(op.results.front()).shape.size();
  return op.name + ": " + to_text(op.kernel, op.operands.size(), rank) + " (" +
         names(graph, op.operands) + ") -> (" + names(graph, op.results) +
         ") layer=" + std::to_string(op.layer) + " " + std::string(to_string(op.phase)) + " [" +
         to_text(op.rule) + "]\n";
}

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::input:
      return "input";
    case Role::parameter:
      return "parameter";
    case Role::replica:
      return "replica";
    case Role::activation:
      return "activation";
    case Role::gradient:
      return "gradient";
    case Role::optimizer_state:
      return "optimizer_state";
    case Role::accumulator:
      return "accumulator";
    case Role::step_scalar:
      return "step_scalar";
    case Role::global_scalar:
      return "global_scalar";
  }
  check_failed("known role", SourceLine::here());
}

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::prepare:
      return "prepare";
    case Phase::forward:
      return "forward";
    case Phase::backward:
      return "backward";
    case Phase::reduce:
      return "reduce";
    case Phase::update:
      return "update";
  }
  check_failed("known phase", SourceLine::here());
}

std::string to_text(const Kernel& kernel, std::size_t num_operands, std::size_t rank) {
  const operators::Signature s = operators::signature_of(kernel, {num_operands, rank});
  return s.kind + " " + joined(s.operands) + "->" + joined(s.results) +
         (s.attributes.empty() ? "" : " " + s.attributes);
}

std::string to_text(const Graph& graph) {
  std::string text = "layers=" + std::to_string(graph.num_layers) +
                     " microbatch=" + std::to_string(graph.microbatch_size) +
                     " parallel=" + graph.parallel_letters + "\n";
  for (const Tensor& tensor : graph.tensors) text += line_of(tensor);
  for (const Operator& op : graph.operators) text += line_of(graph, op);
  return text;
}

}  // namespace alpa
