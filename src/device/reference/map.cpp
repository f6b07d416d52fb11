#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "common/dropout.hpp"
#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

/// Phi(x), the standard normal distribution function.
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

double gelu_gradient(double x) {
  const double density = std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
  return normal_cdf(x) + x * density;
}

const double kGeluSlope = std::sqrt(2.0 / std::numbers::pi);
constexpr double kGeluCubic = 0.044715;

double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + std::tanh(kGeluSlope * (x + kGeluCubic * x * x * x)));
}

double gelu_tanh_gradient(double x) {
  const double t = std::tanh(kGeluSlope * (x + kGeluCubic * x * x * x));
  const double inner = kGeluSlope * (1.0 + 3.0 * kGeluCubic * x * x);
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double silu_gradient(double x) { return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))); }

}  // namespace

std::size_t operand_count(MapOp op, std::size_t given) {
  switch (op) {
    case MapOp::copy:
    case MapOp::scale:
    case MapOp::relu:
    case MapOp::gelu:
    case MapOp::gelu_tanh:
    case MapOp::silu:
    case MapOp::tanh:
      return 1;
    case MapOp::add:
      return std::max<std::size_t>(given, 1);
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
  return 0;
}

double value_of(MapOp op, std::span<const double> x, double constant) {
  switch (op) {
    case MapOp::copy:
      return x[0];
    case MapOp::add: {
      double sum = x[0];
      for (const double term : x.subspan(1)) sum += term;
      return sum;
    }
    case MapOp::add_scaled:
      return x[0] + constant * x[1];
    case MapOp::subtract:
      return x[0] - x[1];
    case MapOp::multiply:
      return x[0] * x[1];
    case MapOp::scale:
      return constant * x[0];
    case MapOp::relu:
      return std::max(x[0], 0.0);
    case MapOp::relu_gradient:
      return x[0] > 0.0 ? x[1] : 0.0;
    case MapOp::gelu:
      return x[0] * normal_cdf(x[0]);
    case MapOp::gelu_gradient:
      return gelu_gradient(x[0]) * x[1];
    case MapOp::gelu_tanh:
      return gelu_tanh(x[0]);
    case MapOp::gelu_tanh_gradient:
      return gelu_tanh_gradient(x[0]) * x[1];
    case MapOp::silu:
      return x[0] * sigmoid(x[0]);
    case MapOp::silu_gradient:
      return silu_gradient(x[0]) * x[1];
    case MapOp::tanh:
      return std::tanh(x[0]);
    case MapOp::tanh_gradient:
      return (1.0 - std::tanh(x[0]) * std::tanh(x[0])) * x[1];
    case MapOp::softmax:
      return std::exp(x[0] - x[1]) / x[2];
    case MapOp::softmax_gradient:
      return x[0] * (x[1] - x[2]);
    case MapOp::cross_entropy:
      return x[3] * x[4] * (std::log(x[1]) + x[0] - x[2]);
    case MapOp::squared_error:
      return constant * x[2] * x[3] * (x[0] - x[1]) * (x[0] - x[1]);
    case MapOp::squared_error_gradient:
      return 2.0 * constant * x[2] * x[3] * (x[0] - x[1]);
    case MapOp::hit:
      return x[1] >= x[0] ? x[2] : 0.0;
  }
  ALPA_CHECK(false);
  return 0.0;
}

void run(const Map& kernel, const Launch& launch) {
  const std::size_t count = kernel.operands.size();
  ALPA_CHECK(count == operand_count(kernel.op, count));
  ALPA_CHECK(launch.operands.size() == count && launch.results.size() == 1);
  Letters sizes;
  sizes.add(kernel.result, launch.results[0]);
  for (std::size_t i = 0; i < count; ++i) sizes.add(kernel.operands[i], launch.operands[i]);

  const Loops loops = loops_over(kernel.result, sizes);
  std::vector<Affine> places;
  for (const Dims& dims : kernel.operands) places.push_back(element_of(dims, loops, sizes));
  places.push_back(element_of(kernel.result, loops, sizes));
  std::vector<double> values(count);
  for_each(loops, places, [&](auto at) {
    for (std::size_t i = 0; i < count; ++i) values[i] = load(launch.operands[i], at[i]);
    store(launch.results[0], at[count], value_of(kernel.op, values, kernel.constant));
  });
}

void run(const Dropout& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 3 && launch.results.size() == 1);
  const Piece& x = launch.operands[0];
  Letters sizes;
  sizes.add(kernel.operand, x);
  sizes.add(kernel.operand, launch.results[0]);

  const DropoutMask mask(kernel.dropout, launch.operands[1], launch.operands[2]);
  const Loops loops = loops_over(kernel.operand, sizes);
  const std::vector<Affine> places = {element_of(kernel.operand, loops, sizes),
                                      global_index_of(kernel.operand, loops, sizes, launch)};
  for_each(loops, places,
           [&](auto at) { store(launch.results[0], at[0], load(x, at[0]) * mask.factor(at[1])); });
}

}  // namespace alpa::reference
