#include <gtest/gtest.h>

#include "alpa/graph/builder.hpp"
#include "alpa/graph/training.hpp"

#include "law/harness.hpp"

namespace alpa::law {
namespace {

/// Three linear layers with bias and GELU, squared error on [b, 3] targets.
Graph mlp(std::int64_t microbatch, OptimizerKind optimizer) {
  GraphBuilder builder(3, microbatch, DType::f64);
  const std::int64_t b = microbatch;
  const auto weight = [&](const std::string& name, const Dims& dims, const Shape& shape) {
    return builder.parameter(name, dims, shape, {Initializer::Kind::normal, 0.0, 0.4});
  };
  builder.at(0);
  TensorId x = builder.input("features", "be", {b, 5}, DType::f64);
  const TensorId weights = builder.input("weights", "b", {b}, DType::f64);
  TensorId y =
      builder.add("l0", Einsum{"be", "ef", "bf", 1.0}, {x, weight("l0.weight", "ef", {5, 7})});
  y = builder.add("l0.add", Map{MapOp::add, {"bf", "f"}, "bf", 1.0},
                  {y, weight("l0.bias", "f", {7})});
  y = builder.add("l0.gelu", Map{MapOp::gelu, {"bf"}, "bf", 1.0}, {y});
  builder.at(1);
  TensorId z =
      builder.add("l1", Einsum{"bf", "fe", "be", 1.0}, {y, weight("l1.weight", "fe", {7, 6})});
  z = builder.add("l1.relu", Map{MapOp::relu, {"be"}, "be", 1.0}, {z});
  builder.at(2);
  const TensorId targets = builder.input("targets", "bf", {b, 3}, DType::f64);
  z = builder.add("l2", Einsum{"be", "ef", "bf", 1.0}, {z, weight("l2.weight", "ef", {6, 3})});
  const TensorId inverse = builder.scalar(scalar_name::kInverseWeight, Role::step_scalar);
  const TensorId errors =
      builder.add("errors", Map{MapOp::squared_error, {"bf", "bf", "b", ""}, "bf", 0.5},
                  {z, targets, weights, inverse});
  const TensorId loss = add_loss(builder, "loss", errors);
  OptimizerSpec spec;
  spec.kind = optimizer;
  spec.clip_norm = 0.5;
  spec.weight_decay = 0.01;
  add_training(builder, {loss}, spec);
  return builder.build();
}

class MlpLaw : public testing::TestWithParam<int> {};

TEST_P(MlpLaw, AnyPlanGivesTheNumbersOfOneRank) {
  Case test;
  const auto kind = GetParam() % 2 == 0 ? OptimizerKind::momentum : OptimizerKind::adamw;
  test.make_graph = [&](std::int64_t m) { return mlp(m, kind); };
  const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
  EXPECT_LT(truth.losses.back(), truth.losses.front());
  std::mt19937_64 random(static_cast<std::uint64_t>(GetParam()));
  for (int i = 0; i < 10; ++i) {
    const int world = 1 + static_cast<int>(random() % 8);
    const Plan plan = random_plan(test, world, random);
    if (i % 2 == 0) test.shuffle_seed = random();
    const Difference d = compare(truth, train(test, plan));
    EXPECT_TRUE(d.initial_equal);
    EXPECT_LT(d.losses, 1e-9) << "world " << world << " plan " << i;
    EXPECT_LT(d.norms, 1e-9);
    EXPECT_LT(d.state, 1e-9) << d.worst_tensor;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MlpLaw, testing::Range(0, 4));

}  // namespace
}  // namespace alpa::law
