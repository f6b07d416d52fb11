#include "alpa/base/error.hpp"
#include "alpa/graph/training.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

/// The kernel of type K that makes operand i of the loss.
template <class K>
std::pair<K, Operator> statistic(const Backward& backward, std::size_t i) {
  const auto producer = backward.builder().producer(backward.operand(i));
  if (producer.has_value()) {
    const Operator& op = backward.builder().graph().op(*producer);
    if (const K* kernel = std::get_if<K>(&op.kernel)) return {*kernel, op};
  }
  throw UserError("operator " + backward.op().name + ": operand " + std::to_string(i) + " (" +
                  backward.tensor(backward.operand(i)).name +
                  ") is not made by the operator that the derivative of " +
                  kind_of(backward.op().kernel) + " expects");
}

/// dx times the gradient of the loss values, where that is not 1.
TensorId weigh(Backward& backward, TensorId dx, const Dims& dims, const Dims& values) {
  if (backward.state(0).ones) return dx;
  const DType dtype = backward.tensor(dx).dtype;
  TensorId dy = backward.gradient(0);
  if (backward.tensor(dy).dtype != dtype) {
    dy = backward.add("convert", Map{MapOp::copy, {values}, values}, {dy}, {.dtype = dtype});
  }
  return backward.add("weigh", Map{MapOp::multiply, {dims, values}, dims}, {dx, dy});
}

/// The scalar that weighs the gradient of a loss whose value `inverse_weight` weighs.
TensorId gradient_weight(Backward& backward, TensorId inverse_weight) {
  GraphBuilder& builder = backward.builder();
  if (builder.dtype() != DType::f16) return inverse_weight;
  if (builder.tensor(inverse_weight).name != scalar_name::kInverseWeight) {
    throw UserError("operator " + backward.op().name + ": in fp16 the weight of a loss must be " +
                    scalar_name::kInverseWeight + ", whose gradient a loss scale goes with, not " +
                    builder.tensor(inverse_weight).name);
  }
  return builder.scalar(scalar_name::kGradientWeight, Role::step_scalar);
}

std::string attributes(char letter, double smoothing) {
  return std::string("letter=") + letter +
         (smoothing != 0.0 ? " smoothing=" + number(smoothing) : "");
}

}  // namespace

Signature signature(const Pick& kernel, Instance /*instance*/) {
  return {.kind = "pick",
          .attributes = attributes(kernel.letter, kernel.smoothing),
          .operands = {kernel.operand, kernel.labels},
          .results = {kernel.labels},
          .reduction = {Reduction::sum},
          .linear = {{0}},
          .single_results = {0},
          .integer_operands = {1}};
}

Signature signature(const CrossEntropyGradient& kernel, Instance /*instance*/) {
  const Dims& row = kernel.labels;
  return {.kind = "cross_entropy_gradient",
          .attributes = attributes(kernel.letter, kernel.smoothing),
          .operands = {kernel.operand, row, row, row, row, ""},
          .results = {kernel.operand},
          .statistics = {1, 2, 4},
          .integer_operands = {3}};
}

// The loss of a row is log(sum exp(x - max)) + max - x[label]: maximum, sum and picked value are
// statistics of the logits x, and the derivative by x is taken through all three at once.
void derive_cross_entropy(const Map& kernel, Backward& backward) {
  const auto [pick, picked] = statistic<Pick>(backward, 2);
  const auto [exponentials, sum] = statistic<SumExp>(backward, 1);
  if (sum.operands.at(0) != picked.operands.at(0) || sum.operands.at(1) != backward.operand(0)) {
    throw UserError("operator " + backward.op().name +
                    ": maximum, sum of exponentials and picked value are of different logits");
  }
  const TensorId logits = picked.operands.at(0);
  const CrossEntropyGradient gradient{pick.operand, pick.labels, pick.letter, pick.smoothing};
  const TensorId dx =
      backward.add("logits", gradient,
                   {logits, backward.operand(0), backward.operand(1), picked.operands.at(1),
                    backward.operand(3), gradient_weight(backward, backward.operand(4))});
  backward.give_beyond(logits, weigh(backward, dx, pick.operand, kernel.result));
}

void derive_squared_error(const Map& kernel, Backward& backward) {
  const Map gradient{MapOp::squared_error_gradient, kernel.operands, kernel.result,
                     kernel.constant};
  const DType dtype = backward.tensor(backward.operand(0)).dtype;
  std::vector<TensorId> operands = backward.op().operands;
  operands.at(3) = gradient_weight(backward, operands.at(3));
  TensorId dx = backward.add("input", gradient, operands, {.dtype = dtype});
  dx = weigh(backward, dx, kernel.result, kernel.result);
  if (backward.wanted(0)) {
    backward.give(0, backward.fit("input.sum", dx, kernel.result, kernel.operands.at(0), 0));
  }
  if (backward.wanted(1)) {
    const Map negative{MapOp::scale, {kernel.result}, kernel.result, -1.0};
    dx = backward.add("target", negative, {dx});
    backward.give(1, backward.fit("target.sum", dx, kernel.result, kernel.operands.at(1), 1));
  }
}

}  // namespace alpa::operators
