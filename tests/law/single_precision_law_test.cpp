#include <cmath>

#include <gtest/gtest.h>

#include "law/models.hpp"

/// fp32: losses of any plan are those of one rank to a thousandth, for every model.
namespace alpa::law {
namespace {

class SinglePrecisionLaw : public testing::TestWithParam<Preset> {
 protected:
  static Case prepared() {
    Case test = case_of({GetParam(), OptimizerKind::adamw, Precision::fp32, 0.5});
    // A short one: Adam on batch norm of two samples of one pixel doubles roundings every step.
    test.steps = GetParam() == Preset::wide_resnet ? 4 : 10;
    test.make_device = one_thread_cpu;
    return test;
  }

  static void expect_near_truth(const Case& test, const Plan& plan) {
    static Truths<Preset> truths;
    const Outcome& truth = truths.of(GetParam(), prepared());
    const Outcome found = train(test, plan);
    ASSERT_EQ(found.losses.size(), truth.losses.size());
    for (std::size_t i = 0; i < truth.losses.size(); ++i) {
      EXPECT_NEAR(found.losses[i], truth.losses[i], 1e-3 * std::abs(truth.losses[i]))
          << "step " << i;
    }
    EXPECT_NEAR(found.evaluation, truth.evaluation, 1e-3 * std::abs(truth.evaluation));
    EXPECT_NE(found.final_state, found.initial);
  }
};

TEST_P(SinglePrecisionLaw, PlansByHandGiveTheLossesOfOneRank) {
  const Case test = prepared();
  const auto expect = [&](Method method, int ranks, const ParallelConfig& parallel) {
    SCOPED_TRACE(name_of_method(method) + " on " + std::to_string(ranks));
    expect_near_truth(test, plan_of(test, method, ranks, parallel));
  };
  expect(Method::data, 4, {});
  expect(Method::zero2, 2, {});
  expect(Method::zero3, 4, microbatches(2));
  expect(Method::megatron, 4, degrees(2, 2, 1));
  expect(Method::pipedream, 3, microbatches(4 / test.samples_of_group));
  expect(Method::heuristic, 3, {});
}

TEST_P(SinglePrecisionLaw, RandomPlansGiveTheLossesOfOneRank) {
  std::mt19937_64 random(53);
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE("plan " + std::to_string(i));
    Case test = prepared();
    if (i % 2 == 0) test.shuffle_seed = random();
    expect_near_truth(test, random_plan(test, 2 + static_cast<int>(random() % 5), random));
  }
}

INSTANTIATE_TEST_SUITE_P(All, SinglePrecisionLaw,
                         testing::Values(Preset::llama, Preset::bert, Preset::moe,
                                         Preset::wide_resnet),
                         [](const auto& each) { return name_in_files(each.param); });

}  // namespace
}  // namespace alpa::law
