#include <cmath>

#include <gtest/gtest.h>

#include "law/models.hpp"

/// Where clipping could go wrong: a tied parameter counts once, an expert on its rank alone, pieces
/// and partial sums once each, and statistics that no gradient changes not at all.
namespace alpa::law {
namespace {

constexpr double kClip = 0.25, kRate = 0.125;

Case one_step(Preset preset) {
  OptimizerConfig optimizer;
  optimizer.name = OptimizerKind::sgd;
  optimizer.weight_decay = 0.0;
  ModelOptions options;
  options.precision = Precision::fp64;
  options.clip_norm = kClip;
  Case test = case_of_model(tiny_model(preset), optimizer, options);
  test.steps = 1;
  test.learning_rate = kRate;
  test.make_device = one_thread_cpu;
  return test;
}

const Outcome& truth_of(Preset preset) {
  static Truths<Preset> truths;
  return truths.of(preset, one_step(preset));
}

bool is_statistic(const std::string& name) { return name.find(".running_") != std::string::npos; }

/// Norm of what a step has changed in the trained parameters, each counted once.
double norm_of_change(const Outcome& outcome) {
  double sum = 0.0;
  for (const auto& [name, values] : outcome.initial) {
    if (is_statistic(name)) continue;
    const std::vector<double>& after = outcome.final_state.at(name);
    for (std::size_t i = 0; i < values.size(); ++i) {
      sum += (after[i] - values[i]) * (after[i] - values[i]);
    }
  }
  return std::sqrt(sum);
}

class GradientNormLaw : public testing::TestWithParam<Preset> {};

TEST_P(GradientNormLaw, IsThatOfOneRankUnderEveryMethod) {
  const Case test = one_step(GetParam());
  const Outcome& truth = truth_of(GetParam());
  EXPECT_GT(truth.norms.at(0), kClip);  // clips
  const auto expect = [&](Method method, int ranks, const ParallelConfig& parallel) {
    SCOPED_TRACE(name_of_method(method) + " on " + std::to_string(ranks));
    const Outcome found = train(test, plan_of(test, method, ranks, parallel));
    EXPECT_NEAR(found.norms.at(0), truth.norms.at(0), 1e-12 * truth.norms.at(0));
    // The step is rate * clip / norm of the gradient: nothing counts twice, nothing is left out.
    EXPECT_NEAR(norm_of_change(found), kRate * kClip, 1e-12);
  };
  for (const int ranks : {1, 2, 3, 4, 8}) {
    for (const Method method : {Method::data, Method::zero1, Method::zero2, Method::zero3,
                                Method::intra_only, Method::heuristic}) {
      expect(method, ranks, {});
    }
    expect(Method::megatron, ranks, degrees(1, ranks, 1));
  }
  expect(Method::megatron, 8, degrees(2, 2, 2));
  expect(Method::zero3, 4, microbatches(2));
  for (const Method method : {Method::inter_only, Method::pipedream}) {
    expect(method, 2, {});
    expect(method, 3, microbatches(4 / test.samples_of_group));
  }
}

TEST(GradientNormLaw, ModelsHaveWhatCouldGoWrong) {
  const auto has = [](Preset preset, const std::string& part) {
    const Case test = one_step(preset);
    const Graph graph = test.make_graph(test.global_batch);
    return std::any_of(graph.tensors.begin(), graph.tensors.end(), [&](const Tensor& tensor) {
      return tensor.role == Role::parameter && tensor.name.find(part) != std::string::npos;
    });
  };
  EXPECT_TRUE(has(Preset::moe, ".experts."));
  EXPECT_FALSE(has(Preset::moe, "head.weight"));  // tied
  const Outcome& images = truth_of(Preset::wide_resnet);
  int statistics = 0;
  for (const auto& [name, values] : images.initial) {
    if (!is_statistic(name)) continue;
    ++statistics;
    EXPECT_NE(images.final_state.at(name), values) << name;
  }
  EXPECT_GT(statistics, 0);
}

INSTANTIATE_TEST_SUITE_P(All, GradientNormLaw, testing::Values(Preset::moe, Preset::wide_resnet),
                         [](const auto& each) { return name_in_files(each.param); });

}  // namespace
}  // namespace alpa::law
