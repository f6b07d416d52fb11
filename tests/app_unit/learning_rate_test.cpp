#include "learning_rate.hpp"

#include <gtest/gtest.h>

namespace alpa {
namespace {

OptimizerConfig with(RateSchedule name) {
  OptimizerConfig optimizer;
  optimizer.learning_rate = 2.0;
  optimizer.schedule = {.name = name, .warmup = 10, .final_share = 0.25, .decay = {}};
  return optimizer;
}

TEST(LearningRate, RisesLinearlyAndEndsWhereItShould) {
  for (const auto name :
       {RateSchedule::constant, RateSchedule::linear, RateSchedule::cosine, RateSchedule::wsd}) {
    const OptimizerConfig optimizer = with(name);
    EXPECT_DOUBLE_EQ(learning_rate(optimizer, 1, 100), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate(optimizer, 5, 100), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate(optimizer, 10, 100), 2.0);
    const double last = name == RateSchedule::constant ? 2.0 : 0.5;
    EXPECT_DOUBLE_EQ(learning_rate(optimizer, 100, 100), last);
  }
}

TEST(LearningRate, HalfWayDown) {
  EXPECT_DOUBLE_EQ(learning_rate(with(RateSchedule::linear), 55, 100), 1.25);
  EXPECT_DOUBLE_EQ(learning_rate(with(RateSchedule::cosine), 55, 100), 1.25);
  EXPECT_DOUBLE_EQ(learning_rate(with(RateSchedule::cosine), 100, 100), 0.5);
  // The last fifth decays: constant until step 80, half way at 90.
  EXPECT_DOUBLE_EQ(learning_rate(with(RateSchedule::wsd), 80, 100), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(with(RateSchedule::wsd), 90, 100), 1.25);
}

TEST(LearningRate, NeverRisesAfterTheWarmUp) {
  for (const auto name : {RateSchedule::linear, RateSchedule::cosine, RateSchedule::wsd}) {
    for (int step = 11; step <= 100; ++step) {
      EXPECT_LE(learning_rate(with(name), step, 100), learning_rate(with(name), step - 1, 100));
    }
  }
}

TEST(LearningRate, WarmUpLongerThanTheRun) {
  EXPECT_DOUBLE_EQ(learning_rate(with(RateSchedule::cosine), 5, 5), 1.0);
}

}  // namespace
}  // namespace alpa
