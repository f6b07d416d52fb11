#include <gtest/gtest.h>

#include "alpa/model/build_graph.hpp"

#include "law/harness.hpp"

namespace alpa::law {
namespace {

ModelConfig small_gpt() {
  ModelConfig model;
  model.preset = Preset::gpt;
  TransformerConfig shape;
  shape.layers = 3;
  shape.hidden = 12;
  shape.heads = 4;
  shape.feed_forward = 20;
  shape.vocabulary = 11;
  shape.sequence = 6;
  shape.dropout = 0.1;
  shape.initializer.std = 0.2;
  model.shape = shape;
  return model;
}

class GptLaw : public testing::TestWithParam<int> {};

TEST_P(GptLaw, AnyPlanGivesTheNumbersOfOneRank) {
  OptimizerConfig optimizer;
  optimizer.name = GetParam() % 2 == 0 ? OptimizerKind::momentum : OptimizerKind::adamw;
  Case test;
  test.learning_rate = 0.01;
  test.vocabulary = {{"tokens", 11}, {"labels", 11}};
  test.make_graph = [&](std::int64_t microbatch) {
    ModelOptions options;
    options.precision = Precision::fp64;
    options.clip_norm = 0.5;
    options.microbatch = microbatch;
    return build_graph(small_gpt(), optimizer, options);
  };
  const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
  std::mt19937_64 random(static_cast<std::uint64_t>(GetParam()));
  for (int i = 0; i < 5; ++i) {
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

INSTANTIATE_TEST_SUITE_P(Seeds, GptLaw, testing::Range(0, 4));

}  // namespace
}  // namespace alpa::law
