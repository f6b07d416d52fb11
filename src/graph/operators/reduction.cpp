#include "operators/operators.hpp"

namespace alpa::operators {

Signature signature(const Reduce& kernel, Instance /*instance*/) {
  const bool maximum = kernel.op == ReduceOp::max;
  Signature s{.kind = maximum ? "reduce.max" : "reduce.sum",
              .attributes = kernel.square ? "square" : "",
              .operands = {kernel.operand},
              .results = {kernel.result},
              .reduction = {maximum ? Reduction::max : Reduction::sum},
              .single_results = {0}};
  if (!maximum && !kernel.square) s.linear = {{0}};
  return s;
}

void derive(const Reduce& kernel, Backward& backward) {
  if (kernel.op == ReduceOp::max) no_derivative(backward);
  if (!kernel.square && backward.state(0).ones) return backward.give_ones(0);
  const Tensor x = backward.tensor(backward.operand(0));
  TensorId dy = backward.gradient(0);
  if (!kernel.square) {
    const Map broadcast{MapOp::copy, {kernel.result}, kernel.operand};
    return backward.give(
        0, backward.add("broadcast", broadcast, {dy}, {.shapes = {x.shape}, .dtype = x.dtype}));
  }
  if (backward.tensor(dy).dtype != x.dtype) {
    const Map convert{MapOp::copy, {kernel.result}, kernel.result};
    dy = backward.add("convert", convert, {dy}, {.dtype = x.dtype});
  }
  const Map product{MapOp::multiply, {kernel.operand, kernel.result}, kernel.operand};
  const Map twice{MapOp::scale, {kernel.operand}, kernel.operand, 2.0};
  const TensorId half = backward.add("product", product, {backward.operand(0), dy});
  backward.give(0, backward.add("twice", twice, {half}));
}

Signature signature(const SumExp& kernel, Instance /*instance*/) {
  return {.kind = "sum_exp",
          .operands = {kernel.operand, kernel.result},
          .results = {kernel.result},
          .reduction = {Reduction::sum},
          .statistics = {1},
          .single_results = {0}};
}

}  // namespace alpa::operators
