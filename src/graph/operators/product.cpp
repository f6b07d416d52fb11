#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

void check_letters(const Einsum& kernel) {
  for (const char c : kernel.left + kernel.right + kernel.result) {
    const int uses = has(kernel.left, c) + has(kernel.right, c) + has(kernel.result, c);
    if (uses >= 2) continue;
    throw UserError("einsum " + kernel.left + "," + kernel.right + "->" + kernel.result +
                    ": letter '" + c + "' stands in one tensor only; every letter needs two");
  }
}

}  // namespace

Signature signature(const Einsum& kernel, Instance /*instance*/) {
  check_letters(kernel);
  return {.kind = "einsum",
          .attributes = "scale=" + number(kernel.scale),
          .operands = {kernel.left, kernel.right},
          .results = {kernel.result},
          .reduction = {Reduction::sum},
          .linear = {{0}, {1}},
          .flops_per_point = 2.0};
}

// y = s sum l r  =>  dl = s sum dy r over the letters that l lacks, and the same for r. Every
// letter of the new products again stands in two tensors.
void derive(const Einsum& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  if (backward.wanted(0)) {
    const Einsum left{kernel.result, kernel.right, kernel.left, kernel.scale};
    backward.give(0, backward.add("left", left, {dy, backward.operand(1)}));
  }
  if (backward.wanted(1)) {
    const Einsum right{kernel.left, kernel.result, kernel.right, kernel.scale};
    backward.give(1, backward.add("right", right, {backward.operand(0), dy}));
  }
}

}  // namespace alpa::operators
