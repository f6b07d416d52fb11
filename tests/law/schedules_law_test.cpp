#include <utility>

#include <gtest/gtest.h>

#include "alpa/graph/builder.hpp"
#include "alpa/graph/derivative.hpp"
#include "alpa/graph/training.hpp"

#include "law/models.hpp"
#include "law/random_law.hpp"

/// The law of the project for stages of several chunks, whose tables go round the stages, and for
/// backwards in two halves: the numbers of one rank.
namespace alpa::law {
namespace {

Case short_case(Preset preset) {
  Case test = case_of({preset});
  test.steps = 6;
  return test;
}

const Outcome& truth_of(Preset preset) {
  static Truths<Preset> truths;
  return truths.of(preset, short_case(preset));
}

struct Setting {
  Preset preset = Preset::mlp;
  Method method = Method::pipedream;
  int ranks = 2;
  std::int64_t microbatches = 4;
  std::int64_t chunks = 2;
  ParallelConfig parallel = {};
};

Plan plan_of(const Setting& setting) {
  ParallelConfig parallel = setting.parallel;
  parallel.schedule = PipelineSchedule::interleaved;
  parallel.chunks_per_stage = setting.chunks;
  parallel.microbatches = setting.microbatches;
  return plan_of(short_case(setting.preset), setting.method, setting.ranks, parallel);
}

TEST(InterleavedLaw, MethodsGiveTheNumbersOfOneRank) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const std::vector<Setting> settings{
        {preset, Method::pipedream, 2, 4, 2},
        {preset, Method::pipedream, 2, 1, 2},
        {preset, Method::inter_only, 2, 8, 3},
        {preset, Method::pipedream, 4, 8, 2},
        {preset, Method::inter_only, 4, 4, 2},
        {preset, Method::pipedream, 4, 2, 2},
        {preset, Method::megatron, 4, 4, 4, degrees(1, 2, 2)},
        {preset, Method::megatron, 4, 4, 2, degrees(2, 1, 2)},
    };
    for (std::size_t i = 0; i < settings.size(); ++i) {
      SCOPED_TRACE(name_in_files(preset) + " " + std::to_string(i));
      Case test = short_case(preset);
      if (i % 2 == 0) test.make_device = one_thread_cpu;
      if (i % 3 == 0) test.shuffle_seed = i;
      const Plan plan = plan_of(settings[i]);
      EXPECT_EQ(plan.schedule, PipelineKind::interleaved);
      EXPECT_EQ(chunks_per_stage(plan), settings[i].chunks);
      expect_equal(truth_of(preset), train(test, plan));
    }
  }
}

using RandomPlan = Plan (*)(const Case&, int, std::mt19937_64&);

void expect_law_of_random_plans(const Case& given, const Outcome& truth, int plans,
                                std::uint64_t seed, RandomPlan random_plan) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < plans; ++i) {
    SCOPED_TRACE("plan " + std::to_string(i) + " of seed " + std::to_string(seed));
    Case test = given;
    const Plan plan = random_plan(test, 1 + i % 6, random);
    if (i % 2 == 0) test.make_device = one_thread_cpu;
    if (i % 3 == 0) test.shuffle_seed = random();
    expect_equal(truth, train(test, plan));
    if (testing::Test::HasFailure()) return;
  }
}

TEST(InterleavedLaw, RandomPlansOfMlp) {
  expect_law_of_random_plans(short_case(Preset::mlp), truth_of(Preset::mlp), num_plans(18), 1,
                             random_interleaved_plan);
}

TEST(InterleavedLaw, RandomPlansOfGpt) {
  expect_law_of_random_plans(short_case(Preset::gpt), truth_of(Preset::gpt), num_plans(12), 2,
                             random_interleaved_plan);
}

TEST(ZeroBubbleLaw, MethodsGiveTheNumbersOfOneRank) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const auto& [ranks, count] : {std::pair{2, 4}, {2, 1}, {4, 8}, {4, 2}}) {
      ParallelConfig parallel = microbatches(count);
      parallel.schedule = PipelineSchedule::zero_bubble;
      const Case test = short_case(preset);
      const Plan plan = plan_of(test, Method::pipedream, ranks, parallel);
      EXPECT_EQ(plan.schedule, PipelineKind::zero_bubble);
      expect_equal(truth_of(preset), train(test, plan));
    }
  }
}

TEST(ZeroBubbleLaw, RandomPlans) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    expect_law_of_random_plans(short_case(preset), truth_of(preset),
                               num_plans(preset == Preset::mlp ? 24 : 12), 4,
                               random_zero_bubble_plan);
  }
}

/// Six layers; what the first makes is read again by the third, fourth and last, as is a parameter:
/// with two stages of chunks by turns some readers stand on the maker's stage, some do not.
Graph skipping_model(std::int64_t b) {
  GraphBuilder builder(6, b, DType::f64);
  const auto weight = [&](const std::string& name, const Dims& dims, const Shape& shape) {
    return builder.parameter(name, dims, shape, {Initializer::Kind::normal, 0.0, 0.4});
  };
  const auto sum = [&](const std::string& name, TensorId a, TensorId c) {
    return builder.add(name, Map{MapOp::add, {"be", "be"}, "be"}, {a, c});
  };
  builder.at(0);
  const TensorId x = builder.input("features", "bi", {b, 5}, DType::f64);
  const TensorId weights = builder.input("weights", "b", {b}, DType::f64);
  const TensorId first =
      builder.add("in", Einsum{"bi", "ie", "be"}, {x, weight("in.weight", "ie", {5, 6})});
  const TensorId shared = weight("shared", "ef", {6, 6});
  TensorId y = first;
  for (int layer = 1; layer < 5; ++layer) {
    const std::string name = "layer" + std::to_string(layer);
    builder.at(layer);
    const TensorId w = layer % 2 == 0 ? shared : weight(name + ".weight", "ef", {6, 6});
    y = builder.add(name, Einsum{"be", "ef", "bf"}, {y, w});
    if (layer == 2 || layer == 3) y = sum(name + ".sum", y, first);
  }
  builder.at(5);
  y = sum("last.sum", y, first);
  y = builder.add("out", Einsum{"be", "ec", "bc"}, {y, weight("out.weight", "ec", {6, 4})});
  const TensorId targets = builder.input("targets", "bc", {b, 4}, DType::f64);
  const TensorId inverse = builder.scalar(scalar_name::kInverseWeight, Role::step_scalar);
  const TensorId errors =
      builder.add("errors", Map{MapOp::squared_error, {"bc", "bc", "b", ""}, "bc", 0.5},
                  {y, targets, weights, inverse});
  OptimizerSpec spec;
  spec.kind = OptimizerKind::adamw;
  spec.clip_norm = 0.5;
  add_training(builder, {add_loss(builder, "loss", errors)}, spec);
  return builder.build();
}

TEST(SchedulesLaw, WhatSeveralStagesAndChunksRead) {
  Case test;
  test.steps = 6;
  test.learning_rate = 0.01;
  test.make_graph = skipping_model;
  const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
  expect_law_of_random_plans(test, truth, num_plans(60), 3, random_interleaved_plan);
  expect_law_of_random_plans(test, truth, num_plans(60), 5, random_zero_bubble_plan);
}

}  // namespace
}  // namespace alpa::law
