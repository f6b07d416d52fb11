#include <functional>
#include <numeric>

#include "alpa/base/random.hpp"

#include "device/cases.hpp"

namespace alpa::test {
namespace {

Tensor tensor(const Shape& shape, std::vector<double> values, DType dtype = DType::f64) {
  return {dtype, whole_box(shape), shape, std::move(values)};
}

Tensor random_tensor(const Shape& shape, std::mt19937_64& random) {
  Tensor result = zeros(DType::f64, whole_box(shape), shape);
  for (double& value : result.values) {
    value = std::uniform_real_distribution<double>(-1.0, 1.0)(random);
  }
  return result;
}

Launch batch(std::int64_t origin, std::int64_t size) {
  Launch launch;
  launch.batch_origin = origin;
  launch.batch_size = size;
  return launch;
}

Launch first() {
  Launch launch;
  launch.first = true;
  return launch;
}

void launch_one(Device& device, const Kernel& kernel, const Piece& operand, const Piece& result) {
  Launch launch;
  launch.operands = {&operand, 1};
  launch.results = {&result, 1};
  device.launch(Queue::compute, kernel, launch);
}

double dot(const Tensor& a, const Tensor& b) {
  return std::inner_product(a.values.begin(), a.values.end(), b.values.begin(), 0.0);
}

/// Largest difference between a gradient and central differences of `f` in `at`.
double against_differences(const std::function<double(const Tensor&)>& f, Tensor at,
                           const Tensor& gradient) {
  const double step = 1e-5;
  Tensor numeric = gradient;
  for (std::size_t i = 0; i < at.values.size(); ++i) {
    const double value = at.values[i];
    at.values[i] = value + step;
    const double above = f(at);
    at.values[i] = value - step;
    const double below = f(at);
    at.values[i] = value;
    numeric.values[i] = (above - below) / (2.0 * step);
  }
  return difference(gradient, numeric);
}

class Reference : public ::testing::Test {
 protected:
  std::unique_ptr<Device> device = make_reference_device();
  std::mt19937_64 random{1};

  Tensor one(const Kernel& kernel, const std::vector<Tensor>& operands, const Tensor& result,
             const Launch& launch = {}) {
    return run(*device, kernel, operands, {result}, launch).front();
  }
};

TEST_F(Reference, EinsumIsTheMatrixProduct) {
  const Tensor a = tensor({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor b = tensor({3, 2}, {1, 0, 0, 1, 1, 1});
  const Tensor c = one(Einsum{"mk", "kn", "mn", 2.0}, {a, b}, tensor({2, 2}, {9, 9, 9, 9}));
  EXPECT_EQ(c.values, (std::vector<double>{8, 10, 20, 22}));
}

TEST_F(Reference, ActivationsHaveKnownValues) {
  const auto at_one = [&](MapOp op) {
    return one(Map{op, {""}, ""}, {tensor({}, {1.0})}, tensor({}, {0.0})).values[0];
  };
  EXPECT_NEAR(at_one(MapOp::gelu), 0.8413447460685429, 1e-15);
  EXPECT_NEAR(at_one(MapOp::gelu_tanh), 0.8411919906082768, 1e-15);
  EXPECT_NEAR(at_one(MapOp::silu), 0.7310585786300049, 1e-15);
}

TEST_F(Reference, ActivationGradientsAreDerivatives) {
  const std::vector<std::pair<MapOp, MapOp>> pairs = {{MapOp::relu, MapOp::relu_gradient},
                                                      {MapOp::gelu, MapOp::gelu_gradient},
                                                      {MapOp::gelu_tanh, MapOp::gelu_tanh_gradient},
                                                      {MapOp::silu, MapOp::silu_gradient},
                                                      {MapOp::tanh, MapOp::tanh_gradient}};
  const Tensor x = random_tensor({40}, random), dy = random_tensor({40}, random);
  for (const auto& [op, gradient_op] : pairs) {
    const Tensor dx = one(Map{gradient_op, {"i", "i"}, "i"}, {x, dy}, x);
    const auto loss = [&, op = op](const Tensor& at) {
      return dot(one(Map{op, {"i"}, "i"}, {at}, at), dy);
    };
    EXPECT_LT(against_differences(loss, x, dx), 1e-8) << static_cast<int>(op);
  }
}

TEST_F(Reference, CrossEntropyOfTheKernelsIsTheLogLikelihood) {
  const Shape rows = {3};
  const Tensor x = random_tensor({3, 5}, random);
  const Tensor labels = tensor(rows, {4, 0, 2}, DType::i32);
  const Tensor weight = tensor(rows, {1.0, 0.5, 0.0}), inverse = constant(1.0 / 1.5);
  const Tensor empty = tensor(rows, {0, 0, 0});
  const auto loss = [&](const Tensor& at) {
    const Tensor max = one(Reduce{ReduceOp::max, false, "bv", "b"}, {at}, empty);
    const Tensor sum = one(SumExp{"bv", "b"}, {at, max}, empty);
    const Tensor picked = one(Pick{"bv", "b", 'v'}, {at, labels}, empty);
    const Tensor losses = one(Map{MapOp::cross_entropy, {"b", "b", "b", "b", ""}, "b"},
                              {max, sum, picked, weight, inverse}, empty);
    return std::accumulate(losses.values.begin(), losses.values.end(), 0.0);
  };
  double expected = 0.0;
  for (std::size_t b = 0; b < 3; ++b) {
    double sum = 0.0;
    for (std::size_t v = 0; v < 5; ++v) sum += std::exp(x.values[b * 5 + v]);
    const double target = x.values[b * 5 + static_cast<std::size_t>(labels.values[b])];
    expected += weight.values[b] / 1.5 * (std::log(sum) - target);
  }
  EXPECT_NEAR(loss(x), expected, 1e-14);

  const Tensor max = one(Reduce{ReduceOp::max, false, "bv", "b"}, {x}, empty);
  const Tensor sum = one(SumExp{"bv", "b"}, {x, max}, empty);
  const Tensor dx =
      one(CrossEntropyGradient{"bv", "b", 'v'}, {x, max, sum, labels, weight, inverse}, x);
  EXPECT_LT(against_differences(loss, x, dx), 1e-8);
}

TEST_F(Reference, NormGradientsAreDerivatives) {
  const Tensor x = random_tensor({3, 7}, random), dy = random_tensor({3, 7}, random);
  const Tensor scale = random_tensor({7}, random), bias = random_tensor({7}, random);
  const Tensor row = tensor({3}, {0, 0, 0});
  for (const bool rms : {false, true}) {
    const NormAttributes norm{.operand = "be", .rms = rms};
    const auto apply = [&](const Tensor& at, const Tensor& s, const Tensor& b) {
      const auto moments = run(*device, NormMoments{"be"}, {at}, {row, row});
      return dot(one(NormApply{norm, true}, {at, moments[0], moments[1], s, b}, at), dy);
    };
    const auto m = run(*device, NormMoments{"be"}, {x}, {row, row});
    const auto g = run(*device, NormGradientMoments{norm}, {dy, x, m[0], m[1], scale}, {row, row});
    const Tensor dx = one(NormGradientInput{norm}, {dy, x, m[0], m[1], scale, g[0], g[1]}, x);
    const auto parameters =
        run(*device, NormGradientParameters{norm, true}, {dy, x, m[0], m[1]}, {scale, bias});
    EXPECT_LT(against_differences([&](const Tensor& at) { return apply(at, scale, bias); }, x, dx),
              1e-7);
    EXPECT_LT(against_differences([&](const Tensor& at) { return apply(x, at, bias); }, scale,
                                  parameters[0]),
              1e-8);
    EXPECT_LT(against_differences([&](const Tensor& at) { return apply(x, scale, at); }, bias,
                                  parameters[1]),
              1e-8);
  }
}

TEST_F(Reference, AttentionGradientIsTheDerivative) {
  const Shape shape = {2, 4, 2, 3};
  std::vector<Tensor> qkv;
  for (int i = 0; i < 3; ++i) qkv.push_back(random_tensor(shape, random));
  const Tensor go = random_tensor(shape, random);
  const Tensor lse = zeros(DType::f64, whole_box({2, 4, 2}), {2, 4, 2});
  for (const double probability : {0.0, 0.4}) {
    const Attention attention{true, 0.6, {probability, 11}};
    const auto forward = [&](const std::vector<Tensor>& at) {
      return run(*device, attention, {at[0], at[1], at[2], constant(2), constant(1)}, {go, lse});
    };
    const auto out = forward(qkv);
    const auto gradients =
        run(*device, AttentionGradient{attention},
            {qkv[0], qkv[1], qkv[2], out[0], out[1], go, constant(2), constant(1)}, {go, go, go});
    for (std::size_t i = 0; i < 3; ++i) {
      const auto loss = [&](const Tensor& at) {
        auto changed = qkv;
        changed[i] = at;
        return dot(forward(changed)[0], go);
      };
      EXPECT_LT(against_differences(loss, qkv[i], gradients[i]), 1e-7) << i;
    }
  }
}

TEST_F(Reference, DropoutKeepsByTheGlobalIndex) {
  const Tensor x = tensor({2, 3}, {1, 1, 1, 1, 1, 1});
  const DropoutAttributes dropout{0.5, 42};
  const Tensor y = one(Dropout{"bt", dropout}, {x, constant(9), constant(1)}, x, batch(4, 8));
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(y.values[i], uniform(42, 9, 4 * 3 + i) >= 0.5 ? 2.0 : 0.0);
  }
  EXPECT_EQ(one(Dropout{"bt", dropout}, {x, constant(9), constant(0)}, x).values, x.values);
}

TEST_F(Reference, AdamWFollowsItsFormula) {
  const Update update{.operand = "i", .weight_decay = 0.1, .clip_norm = 1.0};
  const auto out =
      run(*device, update, {tensor({1}, {0.6}), constant(0.01), constant(2), constant(4.0)},
          {tensor({1}, {1.5}), tensor({1}, {0.2}), tensor({1}, {0.04})});
  const double g = 0.6 * 0.5, m = 0.9 * 0.2 + 0.1 * g, v = 0.999 * 0.04 + 0.001 * g * g;
  const double step = m / (1 - 0.81) / (std::sqrt(v / (1 - 0.999 * 0.999)) + 1e-8) + 0.1 * 1.5;
  EXPECT_NEAR(out[0].values[0], 1.5 - 0.01 * step, 1e-15);
  EXPECT_NEAR(out[1].values[0], m, 1e-16);
  EXPECT_NEAR(out[2].values[0], v, 1e-16);
}

TEST_F(Reference, AccumulateWritesFirstAndAddsThen) {
  const Tensor x = tensor({2}, {1, 2}), old = tensor({2}, {10, 20});
  EXPECT_EQ(one(Accumulate{"i"}, {x}, old, first()).values, x.values);
  EXPECT_EQ(one(Accumulate{"i"}, {x}, old).values, (std::vector<double>{11, 22}));
}

TEST_F(Reference, AccumulateMultipliesByItsFactor) {
  const Tensor x = tensor({2}, {1, 2}), old = tensor({2}, {10, 20}), factor = tensor({}, {0.5});
  EXPECT_EQ(one(Accumulate{"i"}, {x, factor}, old, first()).values, (std::vector<double>{0.5, 1}));
  EXPECT_EQ(one(Accumulate{"i"}, {x, factor}, old).values, (std::vector<double>{10.5, 21}));
}

TEST_F(Reference, HalfTypesRoundToNearestEven) {
  const auto through = [&](DType half, double value) {
    const Piece in = upload(*device, tensor({1}, {value}));
    Piece narrow{device->allocate(Bytes{2}), half, whole_box({1}), {1}};
    Tensor out = tensor({1}, {0.0});
    const Piece back = upload(*device, out);
    const Map copy{MapOp::copy, {"i"}, "i"};
    launch_one(*device, copy, in, narrow);
    launch_one(*device, copy, narrow, back);
    download(*device, back, out);
    return out.values[0];
  };
  for (const DType half : {DType::bf16, DType::f16}) {
    for (const double exact : {0.0, 1.0, -2.5, 0.15625, 384.0}) {
      EXPECT_EQ(through(half, exact), exact);
    }
  }
  EXPECT_EQ(through(DType::bf16, 1.0 + 0x1p-8), 1.0);  // tie: to even
  EXPECT_EQ(through(DType::bf16, 1.0 + 3 * 0x1p-8), 1.0 + 0x1p-6);
  EXPECT_EQ(through(DType::f16, 1.0 + 0x1p-11), 1.0);
  EXPECT_EQ(through(DType::f16, 1.0 + 3 * 0x1p-11), 1.0 + 0x1p-9);
  EXPECT_EQ(through(DType::f16, 65504.0), 65504.0);
  EXPECT_EQ(through(DType::f16, 65520.0), INFINITY);
  EXPECT_EQ(through(DType::f16, 3 * 0x1p-24), 3 * 0x1p-24);  // subnormal
  EXPECT_EQ(through(DType::f16, -0x1p-25), 0.0);
  EXPECT_TRUE(std::isnan(through(DType::bf16, NAN)) && std::isnan(through(DType::f16, NAN)));
}

TEST(ReferenceDeathTest, PiecesThatDisagreeAreABug) {
  const auto device = make_reference_device();
  const Tensor a = tensor({2}, {1, 2}), b = tensor({3}, {1, 2, 3});
  EXPECT_DEATH((void)run(*device, Map{MapOp::add, {"i", "i"}, "i"}, {a, b}, {a}), "sizes_");
}

}  // namespace
}  // namespace alpa::test
