#include "alpa/graph/text.hpp"

#include "alpa/base/error.hpp"
#include "alpa/base/memo.hpp"

#include "operators/operators.hpp"
#include "text_lines.hpp"

namespace alpa {
namespace {

std::string joined(const std::vector<Dims>& all) {
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    text += (i == 0 ? "" : ",") + (all[i].empty() ? std::string("1") : all[i]);
  }
  return text;
}

void append_names(const Graph& graph, const std::vector<TensorId>& tensors, std::string& text) {
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (i > 0) text += ", ";
    text += graph.tensor(tensors[i]).name;
  }
}

std::string to_text(const Initializer& initializer) {
  return initializer.kind == Initializer::Kind::constant
             ? " constant=" + operators::number(initializer.value)
             : " normal=" + operators::number(initializer.deviation);
}

void append_line(const Tensor& tensor, std::string& text) {
  text.append(tensor.name).append(": ").append(to_string(tensor.role)).append(" ");
  text.append(to_string(tensor.dtype)).append(to_string(tensor.shape)).append(" ");
  text.append(tensor.dims).append(" layer=").append(std::to_string(tensor.layer));
  if (tensor.role == Role::parameter) text += to_text(tensor.initializer);
  if (!tensor.trained) text += " kept";
  text += "\n";
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

/// The texts of an operator's kernel and rule, which many have.
struct FormText {
  Kernel kernel;
  std::size_t operands, rank;
  ShardingRule rule;
  std::string of_kernel, of_rule;
};

/// @return valid until the next question
const FormText& text_of_form(const Graph& graph, const Operator& op, Memo<FormText>& texts) {
  const std::size_t operands = op.operands.size();
  const std::size_t rank = op.results.empty() ? 0 : graph.tensor(op.results.front()).shape.size();
  std::size_t hash = hash_with(hash_with(op.kernel.index(), operands), rank);
  for (const Factor& factor : op.rule.factors) {
    hash = hash_with(hash, static_cast<std::size_t>(factor.size));
  }
  const auto same = [&](const FormText& form) {
    return form.operands == operands && form.rank == rank && form.kernel == op.kernel &&
           form.rule == op.rule;
  };
  return texts.of(hash, same, [&] {
    return FormText{op.kernel,       operands, rank, op.rule, to_text(op.kernel, operands, rank),
                    to_text(op.rule)};
  });
}

void append_line(const Graph& graph, const Operator& op, Memo<FormText>& texts, std::string& text) {
  const FormText& form = text_of_form(graph, op, texts);
  text.append(op.name).append(": ").append(form.of_kernel).append(" (");
  append_names(graph, op.operands, text);
  text.append(") -> (");
  append_names(graph, op.results, text);
  text.append(") layer=").append(std::to_string(op.layer)).append(" ");
  text.append(to_string(op.phase)).append(" [").append(form.of_rule).append("]\n");
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

void each_line(const Graph& graph, const std::function<void(std::string_view)>& visit) {
  std::string line = "layers=" + std::to_string(graph.num_layers) +
                     " microbatch=" + std::to_string(graph.microbatch_size) +
                     " parallel=" + graph.parallel_letters + "\n";
  visit(line);
  for (const Tensor& tensor : graph.tensors) {
    line.clear();
    append_line(tensor, line);
    visit(line);
  }
  Memo<FormText> texts;
  for (const Operator& op : graph.operators) {
    line.clear();
    append_line(graph, op, texts, line);
    visit(line);
  }
}

std::string to_text(const Graph& graph) {
  std::string text;
  each_line(graph, [&](std::string_view line) { text += line; });
  return text;
}

}  // namespace alpa
