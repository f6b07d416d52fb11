#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

const Dims kKey = "bshd";

Dims query_of(const Attention& kernel) { return kernel.grouped ? "bthrd" : "bthd"; }
Dims row_of(const Attention& kernel) { return kernel.grouped ? "bthr" : "bth"; }

std::string attributes(const Attention& kernel) {
  return std::string(kernel.causal ? "causal" : "full") + " scale=" + number(kernel.scale) +
         " probability=" + number(kernel.dropout.probability) +
         " key=" + std::to_string(kernel.dropout.key) + (kernel.grouped ? " grouped" : "") +
         (kernel.documents ? " documents" : "");
}

/// The numbers of the documents stand behind the other operands.
void add_documents(const Attention& kernel, Signature& s) {
  if (!kernel.documents) return;
  for (const char* dims : {"bt", "bs"}) {
    s.integer_operands.push_back(static_cast<int>(s.operands.size()));
    s.operands.emplace_back(dims);
  }
}

}  // namespace

Signature signature(const Attention& kernel, Instance /*instance*/) {
  Signature s{.kind = "attention",
              .attributes = attributes(kernel),
              .operands = {query_of(kernel), kKey, kKey, "", ""},
              .results = {query_of(kernel), row_of(kernel)},
              .whole = "sd",
              .flops_per_point = 4.0,
              .suffixes = {"", ".lse"},
              .single_results = {1}};
  add_documents(kernel, s);
  return s;
}

void derive(const Attention& kernel, Backward& backward) {
  if (backward.state(1).exists()) no_derivative(backward);
  std::vector<TensorId> operands{backward.operand(0), backward.operand(1), backward.operand(2),
                                 backward.result(0),  backward.result(1),  backward.gradient(0),
                                 backward.operand(3), backward.operand(4)};
  if (kernel.documents) {
    operands.insert(operands.end(), {backward.operand(5), backward.operand(6)});
  }
  const auto gradients = backward.add_all("input", AttentionGradient{kernel}, operands);
  for (std::size_t i = 0; i < 3; ++i) {
    if (backward.wanted(i)) backward.give(i, gradients.at(i));
  }
}

Signature signature(const AttentionGradient& kernel, Instance /*instance*/) {
  const Dims query = query_of(kernel.attention), row = row_of(kernel.attention);
  Signature s{.kind = "attention_gradient",
              .attributes = attributes(kernel.attention),
              .operands = {query, kKey, kKey, query, row, query, "", ""},
              .results = {query, kKey, kKey},
              .reduction = {Reduction::none, Reduction::sum, Reduction::sum},
              .whole = "sd",
              .flops_per_point = 8.0,
              .suffixes = {".query", ".key", ".value"},
              .statistics = {4}};
  add_documents(kernel.attention, s);
  return s;
}

Signature signature(const Rotary& kernel, Instance /*instance*/) {
  return {.kind = "rotary",
          .attributes = "base=" + number(kernel.base) + (kernel.inverse ? " inverse" : ""),
          .operands = {kernel.operand},
          .results = {kernel.operand},
          .linear = {{0}},
          .whole = "d"};
}

void derive(const Rotary& kernel, Backward& backward) {
  Rotary inverse = kernel;
  inverse.inverse = !kernel.inverse;
  backward.give(0, backward.add("input", inverse, {backward.gradient(0)}));
}

}  // namespace alpa::operators
