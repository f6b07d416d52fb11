#include <algorithm>

#include "operators/operators.hpp"

// Channels of images come last. Rows and columns can be split where the output has 1/stride as many
// as the input: then equal parts of both belong together, with margins for what windows see beyond.
namespace alpa::operators {
namespace {

const Dims kInput = "byxc";
const Dims kWeight = "klco";
const Dims kOutput = "bhwo";
const Dims kPooled = "bhwc";
const std::string kSpatial = "yxhwkl";

std::string attributes(const Window& window) {
  return "size=" + std::to_string(window.size) + " stride=" + std::to_string(window.stride) +
         " padding=" + std::to_string(window.padding);
}

/// Height and width that a window of these sides leaves.
std::string check_window(const Window& window, const Shape& input, const Shape& output,
                         std::int64_t height, std::int64_t width) {
  const auto places = [&](std::int64_t extent, std::int64_t side) {
    const std::int64_t room = extent + 2 * window.padding - side;
    return room < 0 ? 0 : room / window.stride + 1;
  };
  const std::int64_t h = places(input.at(1), height), w = places(input.at(2), width);
  if (h > 0 && w > 0 && h == output.at(1) && w == output.at(2)) return "";
  return "a window of " + std::to_string(height) + " x " + std::to_string(width) + ", stride " +
         std::to_string(window.stride) + ", padding " + std::to_string(window.padding) +
         " leaves " + std::to_string(h) + " x " + std::to_string(w) + " places";
}

/// What rows (or columns) of one side need of the other, if both are split alike.
/// @param backward the input's rows are made from the output's
std::vector<FactorWindow> margins(const Window& window, const Shape& input, const Shape& output,
                                  std::int64_t height, std::int64_t width, bool backward) {
  std::vector<FactorWindow> all;
  const auto add = [&](std::size_t d, std::int64_t side, char in, char out) {
    const std::int64_t s = window.stride, p = window.padding;
    if (input.at(d) != s * output.at(d)) return;
    if (backward) {
      all.push_back(
          {in, out, std::max<std::int64_t>(0, side - 1 - p) / s, p > 0 ? (p - 1) / s + 1 : 0});
    } else {
      all.push_back({out, in, p, std::max<std::int64_t>(0, side - p - s)});
    }
  };
  add(1, height, 'y', 'h');
  add(2, width, 'x', 'w');
  return all;
}

/// Operands and results of a product over windows; which of them is what.
Signature product(const std::string& kind, const Window& window, const Dims& left,
                  const Dims& right, const Dims& result) {
  Signature s{.kind = kind,
              .attributes = attributes(window),
              .operands = {left, right},
              .results = {result},
              .reduction = {Reduction::sum},
              .linear = {{0}, {1}},
              .whole = kSpatial,
              .uncounted = "yx",
              .flops_per_point = 2.0};
  s.check = [=](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
    const auto shape_of = [&](const Dims& dims) -> const Shape& {
      return left == dims ? operands.at(0) : right == dims ? operands.at(1) : results.at(0);
    };
    const Shape& weight = shape_of(kWeight);
    return check_window(window, shape_of(kInput), shape_of(kOutput), weight.at(0), weight.at(1));
  };
  s.windows = [=](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
    const auto shape_of = [&](const Dims& dims) -> const Shape& {
      return left == dims ? operands.at(0) : right == dims ? operands.at(1) : results.at(0);
    };
    const Shape& weight = shape_of(kWeight);
    return margins(window, shape_of(kInput), shape_of(kOutput), weight.at(0), weight.at(1),
                   result == kInput);
  };
  return s;
}

Signature pooling(const std::string& kind, const Window& window, bool gradient) {
  Signature s{.kind = kind,
              .attributes = attributes(window),
              .operands = {gradient ? kPooled : kInput},
              .results = {gradient ? kInput : kPooled},
              .whole = kSpatial};
  s.check = [=](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
    const Shape &input = gradient ? results.at(0) : operands.at(0),
                &output = gradient ? operands.at(0) : results.at(0);
    return check_window(window, input, output, window.size, window.size);
  };
  s.windows = [=](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
    const Shape &input = gradient ? results.at(0) : operands.at(0),
                &output = gradient ? operands.at(0) : results.at(0);
    return margins(window, input, output, window.size, window.size, gradient);
  };
  return s;
}

}  // namespace

Signature signature(const Convolution& kernel, Instance /*instance*/) {
  return product("convolution", kernel.window, kInput, kWeight, kOutput);
}

void derive(const Convolution& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  if (backward.wanted(0)) {
    const Tensor x = backward.tensor(backward.operand(0));
    backward.give(
        0, backward.add("input", ConvolutionGradientInput{kernel.window}, {dy, backward.operand(1)},
                        {.shapes = {x.shape}, .dims = {x.dims}}));
  }
  if (backward.wanted(1)) {
    const Tensor w = backward.tensor(backward.operand(1));
    backward.give(1,
                  backward.add("weight", ConvolutionGradientWeight{kernel.window},
                               {backward.operand(0), dy}, {.shapes = {w.shape}, .dims = {w.dims}}));
  }
}

Signature signature(const ConvolutionGradientInput& kernel, Instance /*instance*/) {
  return product("convolution_gradient_input", kernel.window, kOutput, kWeight, kInput);
}

Signature signature(const ConvolutionGradientWeight& kernel, Instance /*instance*/) {
  return product("convolution_gradient_weight", kernel.window, kInput, kOutput, kWeight);
}

Signature signature(const MaxPool& kernel, Instance /*instance*/) {
  Signature s = pooling("max_pool", kernel.window, false);
  s.results.push_back(kPooled);
  s.suffixes = {"", ".place"};
  s.integer_results = {1};
  return s;
}

void derive(const MaxPool& kernel, Backward& backward) {
  const Tensor x = backward.tensor(backward.operand(0));
  backward.give(0, backward.add("input", MaxPoolGradient{kernel.window},
                                {backward.gradient(0), backward.result(1)},
                                {.shapes = {x.shape}, .dims = {x.dims}}));
}

Signature signature(const MaxPoolGradient& kernel, Instance /*instance*/) {
  Signature s = pooling("max_pool_gradient", kernel.window, true);
  s.operands.push_back(kPooled);
  s.integer_operands = {1};
  s.linear = {{0}};
  return s;
}

Signature signature(const AveragePool& kernel, Instance /*instance*/) {
  Signature s = pooling("average_pool", kernel.window, false);
  s.linear = {{0}};
  return s;
}

void derive(const AveragePool& kernel, Backward& backward) {
  const Tensor x = backward.tensor(backward.operand(0));
  backward.give(0, backward.add("input", AveragePoolGradient{kernel.window}, {backward.gradient(0)},
                                {.shapes = {x.shape}, .dims = {x.dims}}));
}

Signature signature(const AveragePoolGradient& kernel, Instance /*instance*/) {
  Signature s = pooling("average_pool_gradient", kernel.window, true);
  s.linear = {{0}};
  return s;
}

namespace {

Signature enlargement(const std::string& kind, std::int64_t factor, bool gradient) {
  Signature s{.kind = kind,
              .attributes = "factor=" + std::to_string(factor),
              .operands = {gradient ? kPooled : kInput},
              .results = {gradient ? kInput : kPooled},
              .linear = {{0}},
              .whole = kSpatial};
  s.check = [=](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
    const Shape &small = gradient ? results.at(0) : operands.at(0),
                &large = gradient ? operands.at(0) : results.at(0);
    const bool fits = large.at(1) == factor * small.at(1) && large.at(2) == factor * small.at(2);
    return fits ? std::string()
                : "the sides of one must be " + std::to_string(factor) + " times the other's";
  };
  return s;
}

}  // namespace

Signature signature(const Upsample& kernel, Instance /*instance*/) {
  return enlargement("upsample", kernel.factor, false);
}

void derive(const Upsample& kernel, Backward& backward) {
  const Tensor x = backward.tensor(backward.operand(0));
  backward.give(0, backward.add("input", UpsampleGradient{kernel.factor}, {backward.gradient(0)},
                                {.shapes = {x.shape}, .dims = {x.dims}}));
}

Signature signature(const UpsampleGradient& kernel, Instance /*instance*/) {
  return enlargement("upsample_gradient", kernel.factor, true);
}

}  // namespace alpa::operators
