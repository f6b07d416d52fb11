#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

/// "abc": letters for a tensor of which only the number of dimensions matters.
Dims any_letters(std::size_t rank) {
  Dims dims;
  for (std::size_t i = 0; i < rank; ++i) dims += static_cast<char>('a' + i);
  return dims;
}

}  // namespace

Signature signature(const Select& kernel, Instance /*instance*/) {
  return {.kind = "select",
          .attributes =
              std::string("letter=") + kernel.letter + " index=" + std::to_string(kernel.index),
          .operands = {kernel.operand},
          .results = {without(kernel.operand, kernel.letter)},
          .linear = {{0}},
          .whole = {kernel.letter},
          .index = {{kernel.letter, kernel.index}}};
}

void derive(const Select& kernel, Backward& backward) {
  backward.give_slice(0, kernel.operand.find(kernel.letter), kernel.index, backward.gradient(0));
}

Signature signature(const Stack& kernel, Instance instance) {
  Signature s{
      .kind = "stack",
      .attributes = std::string("letter=") + kernel.letter,
      .operands = std::vector<Dims>(instance.operands, without(kernel.result, kernel.letter)),
      .results = {kernel.result},
      .linear = {{}},
      .whole = {kernel.letter},
      .extent = {{kernel.letter, static_cast<std::int64_t>(instance.operands)}}};
  for (std::size_t i = 0; i < instance.operands; ++i) s.linear[0].push_back(static_cast<int>(i));
  return s;
}

void derive(const Stack& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  for (std::size_t i = 0; i < backward.op().operands.size(); ++i) {
    if (!backward.wanted(i)) continue;
    const Select select{kernel.result, kernel.letter, static_cast<std::int64_t>(i)};
    backward.give(i, backward.add("operand" + std::to_string(i), select, {dy}));
  }
}

Signature signature(const CopyBox& /*kernel*/, Instance instance) {
  const Dims dims = any_letters(instance.rank);
  return {.kind = "copy_box", .operands = {dims}, .results = {dims}, .linear = {{0}}};
}

Signature signature(const Fill& kernel, Instance instance) {
  return {.kind = "fill",
          .attributes = "value=" + number(kernel.value),
          .results = {any_letters(instance.rank)}};
}

}  // namespace alpa::operators
