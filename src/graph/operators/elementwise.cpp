#include <numeric>

#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

std::string name_of(MapOp op) {
  switch (op) {
    case MapOp::copy:
      return "copy";
    case MapOp::add:
      return "add";
    case MapOp::add_scaled:
      return "add_scaled";
    case MapOp::subtract:
      return "subtract";
    case MapOp::multiply:
      return "multiply";
    case MapOp::scale:
      return "scale";
    case MapOp::relu:
      return "relu";
    case MapOp::relu_gradient:
      return "relu_gradient";
    case MapOp::gelu:
      return "gelu";
    case MapOp::gelu_gradient:
      return "gelu_gradient";
    case MapOp::gelu_tanh:
      return "gelu_tanh";
    case MapOp::gelu_tanh_gradient:
      return "gelu_tanh_gradient";
    case MapOp::silu:
      return "silu";
    case MapOp::silu_gradient:
      return "silu_gradient";
    case MapOp::tanh:
      return "tanh";
    case MapOp::tanh_gradient:
      return "tanh_gradient";
    case MapOp::softmax:
      return "softmax";
    case MapOp::softmax_gradient:
      return "softmax_gradient";
    case MapOp::cross_entropy:
      return "cross_entropy";
    case MapOp::squared_error:
      return "squared_error";
    case MapOp::squared_error_gradient:
      return "squared_error_gradient";
    case MapOp::hit:
      return "hit";
  }
  check_failed("known map operation", SourceLine::here());
}

/// Number of operands; 0: any number from one.
std::size_t arity_of(MapOp op) {
  switch (op) {
    case MapOp::add:
      return 0;
    case MapOp::copy:
    case MapOp::scale:
    case MapOp::relu:
    case MapOp::gelu:
    case MapOp::gelu_tanh:
    case MapOp::silu:
    case MapOp::tanh:
      return 1;
    case MapOp::add_scaled:
    case MapOp::subtract:
    case MapOp::multiply:
    case MapOp::relu_gradient:
    case MapOp::gelu_gradient:
    case MapOp::gelu_tanh_gradient:
    case MapOp::silu_gradient:
    case MapOp::tanh_gradient:
      return 2;
    case MapOp::softmax:
    case MapOp::softmax_gradient:
    case MapOp::hit:
      return 3;
    case MapOp::squared_error:
    case MapOp::squared_error_gradient:
      return 4;
    case MapOp::cross_entropy:
      return 5;
  }
  check_failed("known map operation", SourceLine::here());
}

std::vector<std::vector<int>> linear_groups(const Map& kernel) {
  switch (kernel.op) {
    case MapOp::copy:
    case MapOp::scale:
      return {{0}};
    case MapOp::add: {
      std::vector<int> all(kernel.operands.size());
      std::iota(all.begin(), all.end(), 0);
      return {all};
    }
    case MapOp::add_scaled:
    case MapOp::subtract:
      return {{0, 1}};
    case MapOp::multiply:
      return {{0}, {1}};
    case MapOp::relu_gradient:
    case MapOp::gelu_gradient:
    case MapOp::gelu_tanh_gradient:
    case MapOp::silu_gradient:
    case MapOp::tanh_gradient:
      return {{1}};
    case MapOp::softmax_gradient:
      return {{1, 2}};
    case MapOp::relu:
    case MapOp::gelu:
    case MapOp::gelu_tanh:
    case MapOp::silu:
    case MapOp::tanh:
    case MapOp::softmax:
    case MapOp::cross_entropy:
    case MapOp::squared_error:
    case MapOp::squared_error_gradient:
    case MapOp::hit:
      return {};
  }
  check_failed("known map operation", SourceLine::here());
}

/// Operands that may be f32 beside bf16 and f16: statistics of rows, targets, weights.
std::vector<int> statistics_of(MapOp op) {
  switch (op) {
    case MapOp::softmax:
    case MapOp::squared_error:
    case MapOp::squared_error_gradient:
      return {1, 2};
    case MapOp::softmax_gradient:
      return {2};
    default:
      return {};
  }
}

void check_operands(const Map& kernel) {
  const std::size_t arity = arity_of(kernel.op);
  const std::size_t have = kernel.operands.size();
  if (arity == 0 ? have == 0 : have != arity) {
    throw UserError("map." + name_of(kernel.op) + " has " + std::to_string(have) +
                    " operands, needs " + (arity == 0 ? "at least 1" : std::to_string(arity)));
  }
  for (const Dims& dims : kernel.operands) {
    for (const char c : dims) {
      if (has(kernel.result, c)) continue;
      throw UserError("map." + name_of(kernel.op) + ": letter '" + c + "' of operand " + dims +
                      " is missing in the result " + kernel.result);
    }
  }
}

bool gives_loss(MapOp op) {
  return op == MapOp::cross_entropy || op == MapOp::squared_error || op == MapOp::hit;
}

/// The map that gives dx from (x, dy).
MapOp gradient_of(MapOp op) {
  switch (op) {
    case MapOp::relu:
      return MapOp::relu_gradient;
    case MapOp::gelu:
      return MapOp::gelu_gradient;
    case MapOp::gelu_tanh:
      return MapOp::gelu_tanh_gradient;
    case MapOp::silu:
      return MapOp::silu_gradient;
    case MapOp::tanh:
      return MapOp::tanh_gradient;
    default:
      check_failed("map operation is an activation", SourceLine::here());
  }
}

/// Gives operand i a gradient with the letters of the result.
void give_fitted(const Map& kernel, Backward& backward, std::size_t i, TensorId gradient) {
  const std::string what = "operand" + std::to_string(i) + ".sum";
  backward.give(i, backward.fit(what, gradient, kernel.result, kernel.operands.at(i), i));
}

void derive_sum(const Map& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  for (std::size_t i = 0; i < kernel.operands.size(); ++i) {
    if (!backward.wanted(i)) continue;
    if (kernel.op == MapOp::subtract && i == 1) {
      const Map negative{MapOp::scale, {kernel.result}, kernel.result, -1.0};
      give_fitted(kernel, backward, i, backward.add("negative", negative, {dy}));
    } else {
      give_fitted(kernel, backward, i, dy);
    }
  }
}

void derive_scale(const Map& kernel, Backward& backward) {
  const Map scale{MapOp::scale, {kernel.result}, kernel.result, kernel.constant};
  give_fitted(kernel, backward, 0, backward.add("scale", scale, {backward.gradient(0)}));
}

void derive_multiply(const Map& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  for (std::size_t i = 0; i < 2; ++i) {
    if (!backward.wanted(i)) continue;
    const std::size_t other = 1 - i;
    const Map product{MapOp::multiply, {kernel.result, kernel.operands.at(other)}, kernel.result};
    give_fitted(
        kernel, backward, i,
        backward.add("operand" + std::to_string(i), product, {dy, backward.operand(other)}));
  }
}

void derive_activation(const Map& kernel, Backward& backward) {
  const Map gradient{gradient_of(kernel.op), {kernel.operands.at(0), kernel.result}, kernel.result};
  const TensorId dx = backward.add("input", gradient, {backward.operand(0), backward.gradient(0)});
  give_fitted(kernel, backward, 0, dx);
}

// y = softmax(x): dx = y (dy - sum(y dy)). The maximum and the sum of exponentials are statistics
// of x; their part of the derivative is in the formula.
void derive_softmax(const Map& kernel, Backward& backward) {
  const Dims& full = kernel.result;
  const Dims& row = kernel.operands.at(1);
  if (kernel.operands.at(0) != full) no_derivative(backward);
  const TensorId y = backward.result(0);
  const TensorId dy = backward.gradient(0);
  const TensorId product =
      backward.add("product", Map{MapOp::multiply, {full, full}, full}, {y, dy});
  const TensorId dot = backward.add("dot", Reduce{.operand = full, .result = row}, {product});
  const Map gradient{MapOp::softmax_gradient, {full, full, row}, full};
  backward.give(0, backward.add("input", gradient, {y, dy, dot}));
}

}  // namespace

Signature signature(const Map& kernel, Instance /*instance*/) {
  check_operands(kernel);
  Signature s{.kind = "map." + name_of(kernel.op),
              .attributes = "constant=" + number(kernel.constant),
              .operands = kernel.operands,
              .results = {kernel.result},
              .linear = linear_groups(kernel),
              .statistics = statistics_of(kernel.op)};
  if (gives_loss(kernel.op)) s.wide_results = {0};
  return s;
}

void derive(const Map& kernel, Backward& backward) {
  switch (kernel.op) {
    case MapOp::copy:
    case MapOp::add:
    case MapOp::subtract:
      return derive_sum(kernel, backward);
    case MapOp::scale:
      return derive_scale(kernel, backward);
    case MapOp::multiply:
      return derive_multiply(kernel, backward);
    case MapOp::relu:
    case MapOp::gelu:
    case MapOp::gelu_tanh:
    case MapOp::silu:
    case MapOp::tanh:
      return derive_activation(kernel, backward);
    case MapOp::softmax:
      return derive_softmax(kernel, backward);
    case MapOp::cross_entropy:
      return derive_cross_entropy(kernel, backward);
    case MapOp::squared_error:
      return derive_squared_error(kernel, backward);
    case MapOp::add_scaled:
    case MapOp::relu_gradient:
    case MapOp::gelu_gradient:
    case MapOp::gelu_tanh_gradient:
    case MapOp::silu_gradient:
    case MapOp::tanh_gradient:
    case MapOp::softmax_gradient:
    case MapOp::squared_error_gradient:
    case MapOp::hit:
      no_derivative(backward);
  }
}

}  // namespace alpa::operators
