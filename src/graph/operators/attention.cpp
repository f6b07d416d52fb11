#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

const Dims kQuery = "bthd";
const Dims kKey = "bshd";
const Dims kRow = "bth";

std::string attributes(const Attention& kernel) {
  return std::string(kernel.causal ? "causal" : "full") + " scale=" + number(kernel.scale) +
         " probability=" + number(kernel.dropout.probability) +
         " key=" + std::to_string(kernel.dropout.key);
}

}  // namespace

Signature signature(const Attention& kernel, Instance /*instance*/) {
  return {.kind = "attention",
          .attributes = attributes(kernel),
          .operands = {kQuery, kKey, kKey, "", ""},
          .results = {kQuery, kRow},
          .whole = "sd",
          .flops_per_point = 4.0,
          .suffixes = {"", ".lse"}};
}

void derive(const Attention& kernel, Backward& backward) {
  if (backward.state(1).exists()) no_derivative(backward);
  const auto gradients = backward.add_all(
      "input", AttentionGradient{kernel},
      {backward.operand(0), backward.operand(1), backward.operand(2), backward.result(0),
       backward.result(1), backward.gradient(0), backward.operand(3), backward.operand(4)});
  for (std::size_t i = 0; i < 3; ++i) {
    if (backward.wanted(i)) backward.give(i, gradients.at(i));
  }
}

Signature signature(const AttentionGradient& kernel, Instance /*instance*/) {
  return {.kind = "attention_gradient",
          .attributes = attributes(kernel.attention),
          .operands = {kQuery, kKey, kKey, kQuery, kRow, kQuery, "", ""},
          .results = {kQuery, kKey, kKey},
          .reduction = {Reduction::none, Reduction::sum, Reduction::sum},
          .whole = "sd",
          .flops_per_point = 8.0,
          .suffixes = {".query", ".key", ".value"}};
}

}  // namespace alpa::operators
