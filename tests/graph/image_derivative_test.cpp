#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "graph/finite_differences.hpp"

/// Derivatives of convolutions, pooling and batch norm against finite differences.
namespace alpa {
namespace {

using testing::Case;
using testing::expect_gradients_of_differences;
using testing::kBatch;

void expect_derivative(Case& test) {
  const Graph graph = test.finish();
  expect_gradients_of_differences(test, graph);
}

std::int64_t places(std::int64_t extent, const Window& window, std::int64_t side) {
  return (extent + 2 * window.padding - side) / window.stride + 1;
}

TEST(ImageDerivative, OfConvolutionsIsThatOfFiniteDifferences) {
  for (const Window& window : {Window{}, Window{.stride = 1, .padding = 1},
                               Window{.stride = 2, .padding = 1}, Window{.stride = 3}}) {
    SCOPED_TRACE("stride " + std::to_string(window.stride));
    Case c;
    const TensorId x = c.parameter("x", "byxc", {kBatch, 5, 4, 2});
    const TensorId w = c.parameter("w", "klco", {3, 2, 2, 3});
    const Shape y{kBatch, places(5, window, 3), places(4, window, 2), 3};
    c.end_with(c.builder.add("y", Convolution{window}, {x, w}, {.shapes = {y}}));
    expect_derivative(c);
  }
}

TEST(ImageDerivative, OfPoolingIsThatOfFiniteDifferences) {
  const Window window{.size = 3, .stride = 2, .padding = 1};
  const Shape shape{kBatch, 3, 2, 2};
  Case largest;
  TensorId x = largest.parameter("x", "byxc", {kBatch, 5, 4, 2});
  largest.end_with(largest.builder.add("y", MaxPool{window}, {x}, {.shapes = {shape, shape}}));
  expect_derivative(largest);
  Case mean;
  x = mean.parameter("x", "byxc", {kBatch, 5, 4, 2});
  mean.end_with(mean.builder.add("y", AveragePool{window}, {x}, {.shapes = {shape}}));
  expect_derivative(mean);
}

struct BatchNorm {
  std::string name;
  Dims over, row;
  std::int64_t group;
  Shape row_shape;
};

void add_batch_norm(Case& c, const BatchNorm& kind, bool evaluation) {
  const TensorId x = c.parameter("x", "byxc", {4, 2, 3, 2});
  const NormAttributes norm{
      .operand = "byxc", .over = kind.over, .parameters = "c", .group = kind.group};
  auto moments = c.builder.add_all("m", NormMoments{"byxc", kind.over, kind.group}, {x},
                                   {.shapes = {kind.row_shape, kind.row_shape}});
  if (evaluation) {
    const TensorId mean = c.builder.input("mean", "c", {2}, DType::f64);
    const TensorId variance = c.builder.input("variance", "c", {2}, DType::f64);
    moments = c.builder.add_all(
        "used", NormBlend{kind.row, "c", 12.0},
        {moments[0], moments[1], mean, variance, c.scalar(scalar_name::kTraining)});
  }
  const TensorId scale = c.parameter("scale", "c", {2}), bias = c.parameter("bias", "c", {2});
  c.end_with(c.builder.add("y", NormApply{norm, true}, {x, moments[0], moments[1], scale, bias}));
}

TEST(ImageDerivative, OfBatchNormIsThatOfFiniteDifferences) {
  const std::vector<BatchNorm> kinds = {{"one group", "byx", "c", 1, {2}},
                                        {"two groups", "yx", "bc", 2, {2, 2}},
                                        {"a group a sample", "yx", "bc", 1, {4, 2}}};
  for (const BatchNorm& kind : kinds) {
    for (const bool evaluation : {false, true}) {
      SCOPED_TRACE(kind.name + (evaluation ? " with evaluation" : ""));
      Case c;
      add_batch_norm(c, kind, evaluation);
      expect_derivative(c);
    }
  }
}

TEST(ImageDerivative, GroupsMustBeWhole) {
  EXPECT_THROW(
      static_cast<void>(rule_of(NormMoments{"byxc", "yx", 3}, {{8, 2, 2, 3}}, {{2, 3}, {2, 3}})),
      UserError);
  const ShardingRule rule = rule_of(NormMoments{"byxc", "yx", 2}, {{8, 2, 2, 3}}, {{4, 3}, {4, 3}});
  const Factor& batch = rule.factors.at(static_cast<std::size_t>(rule.factor('b')));
  EXPECT_TRUE(batch.even);
  EXPECT_EQ(batch.size, 4);
}

}  // namespace
}  // namespace alpa
