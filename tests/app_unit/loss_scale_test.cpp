#include "loss_scale.hpp"

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

TrainingConfig fp16(double initial, std::int64_t growth_interval, double minimum = 1.0) {
  TrainingConfig training;
  training.precision = Precision::fp16;
  training.loss_scale = {initial, growth_interval, minimum};
  return training;
}

TEST(LossScale, HalvesOnOverflowAndDoublesAfterGoodSteps) {
  LossScale scale(fp16(1024.0, 3));
  EXPECT_EQ(scale.value(), 1024.0);
  scale.adapt(true);
  EXPECT_EQ(scale.value(), 512.0);
  for (const double expected : {512.0, 512.0, 1024.0, 1024.0}) {
    scale.adapt(false);
    EXPECT_EQ(scale.value(), expected);
  }
  scale.adapt(true);  // and counts anew
  for (const double expected : {512.0, 512.0, 1024.0}) {
    scale.adapt(false);
    EXPECT_EQ(scale.value(), expected);
  }
}

TEST(LossScale, IsOneInOtherPrecisions) {
  for (const Precision precision : {Precision::fp64, Precision::fp32, Precision::bf16}) {
    TrainingConfig training;
    training.precision = precision;
    LossScale scale(training);
    EXPECT_FALSE(scale.is_used());
    scale.adapt(true);
    EXPECT_EQ(scale.value(), 1.0);
  }
}

TEST(LossScale, StopsBelowTheMinimum) {
  LossScale scale(fp16(4.0, 3, 2.0));
  scale.adapt(true);
  try {
    scale.adapt(true);
    FAIL() << scale.value();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::numerics);
    EXPECT_NE(std::string(error.what()).find("loss scale of 2.0"), std::string::npos);
  }
}

TEST(LossScale, GoesOnFromWhatItSaved) {
  LossScale one(fp16(1024.0, 5));
  one.adapt(true);
  one.adapt(false);
  one.adapt(false);
  std::map<std::string, std::string> state;
  one.save(state);
  LossScale other(fp16(65536.0, 5));
  other.restore(state);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(one.value(), other.value());
    one.adapt(i == 4);
    other.adapt(i == 4);
  }
}

}  // namespace
}  // namespace alpa
