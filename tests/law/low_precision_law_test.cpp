#include <algorithm>
#include <cmath>
#include <utility>

#include <gtest/gtest.h>

#include "law/closed_forms.hpp"
#include "law/models.hpp"

/// bf16 and fp16: any plan stays as near to fp32 as one rank does; no rank updates after an
/// overflow.
namespace alpa::law {
namespace {

bool is_short(Preset preset) { return preset != Preset::mlp && preset != Preset::gpt; }

// Momentum, not Adam: that divides gradients by their size, so that those near 0 carry a rounding
// to the parameters at full length, and distances say nothing any more.
Case low_case(Preset preset, Precision precision) {
  Case test = case_of({preset, OptimizerKind::momentum, precision, 0.5});
  // Batch norm of two samples of one pixel blows roundings up with every step.
  test.steps = preset == Preset::wide_resnet ? 4 : is_short(preset) ? 6 : 20;
  test.make_device = one_thread_cpu;
  if (precision == Precision::fp16) test.loss_scale = 1024.0;
  return test;
}

/// What one rank gives.
const Outcome& truth_of(Preset preset, Precision precision) {
  static Truths<std::pair<Preset, Precision>> truths;
  return truths.of({preset, precision}, low_case(preset, precision));
}

/// Largest difference of two runs' losses, relative to the losses.
double distance(const Outcome& a, const Outcome& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    worst = std::max(worst, std::abs(a.losses[i] - b.losses[i]) / std::abs(a.losses[i]));
  }
  return worst;
}

/// Half a unit in the last place, relative.
double rounding(Precision precision) { return precision == Precision::bf16 ? 0x1p-8 : 0x1p-11; }

/// A plan rounds partial sums and gradients of microbatches in other places than one rank: its
/// distance from fp32 is of the size of one rank's, or of a few roundings.
double allowed(Preset preset, Precision precision) {
  const double of_one_rank =
      distance(truth_of(preset, Precision::fp32), truth_of(preset, precision));
  return std::max(3.0 * of_one_rank, 2.0 * rounding(precision));
}

struct Setting {
  Method method;
  int ranks;
  ParallelConfig parallel = {};
};

std::vector<Setting> settings_of(Preset preset) {
  std::vector<Setting> all = {{Method::heuristic, 2}, {Method::zero3, 4, microbatches(2)}};
  if (preset == Preset::moe || preset == Preset::wide_resnet) {
    all.push_back({Method::megatron, 4, degrees(2, 2, 1)});
    all.push_back({Method::pipedream, 3, microbatches(preset == Preset::moe ? 2 : 4)});
    return all;
  }
  all.push_back({Method::inter_only, 3, microbatches(4)});
  all.push_back({Method::megatron, 8, degrees(2, 2, 2)});
  if (is_short(preset)) return all;
  for (const Method method :
       {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::pipedream}) {
    all.push_back({method, 2});
  }
  return all;
}

class LowPrecisionLaw : public testing::TestWithParam<Preset> {};

TEST_P(LowPrecisionLaw, OneRankStaysCloseToFp32) {
  const Outcome& wide = truth_of(GetParam(), Precision::fp32);
  for (const Precision precision : {Precision::bf16, Precision::fp16}) {
    const Outcome& low = truth_of(GetParam(), precision);
    EXPECT_TRUE(compare(wide, low).initial_equal);  // the master copy starts alike
    const double found = distance(wide, low);
    EXPECT_GT(found, 0.0);
    EXPECT_LT(found, 4.0 * rounding(precision)) << name_of(precision);
  }
}

TEST_P(LowPrecisionLaw, PlansByHandStayAsCloseAsOneRank) {
  for (const Precision precision : {Precision::bf16, Precision::fp16}) {
    for (const Setting& s : settings_of(GetParam())) {
      const Case test = low_case(GetParam(), precision);
      const Outcome found = train(test, plan_of(test, s.method, s.ranks, s.parallel));
      EXPECT_LT(distance(truth_of(GetParam(), Precision::fp32), found),
                allowed(GetParam(), precision))
          << name_of(precision) << " " << name_of_method(s.method) << " of " << s.ranks;
    }
  }
}

TEST_P(LowPrecisionLaw, RandomPlansStayAsCloseAsOneRank) {
  std::mt19937_64 random(47);
  for (int i = 0; i < (is_short(GetParam()) ? 6 : 12); ++i) {
    const Precision precision = i % 2 == 0 ? Precision::bf16 : Precision::fp16;
    Case test = low_case(GetParam(), precision);
    if (i % 3 == 0 && GetParam() != Preset::wide_resnet) test.make_device = make_reference_device;
    if (i % 5 == 0) test.shuffle_seed = 100 + i;
    const Plan plan = random_plan(test, 1 + static_cast<int>(random() % 6), random);
    const Outcome found = train(test, plan);
    EXPECT_LT(distance(truth_of(GetParam(), Precision::fp32), found),
              allowed(GetParam(), precision))
        << "plan " << i;
  }
}

// A scale at which gradients overflow: no rank updates anything, under any plan.
TEST_P(LowPrecisionLaw, OverflowLeavesAllStateAlone) {
  for (const auto& [method, ranks] : {std::pair{Method::data, 1},
                                      {Method::zero1, 2},
                                      {Method::zero3, 2},
                                      {Method::pipedream, 3},
                                      {Method::megatron, 4}}) {
    Case test = low_case(GetParam(), Precision::fp16);
    test.steps = 2;
    test.loss_scale = 0x1p40;
    ParallelConfig parallel = method == Method::megatron ? degrees(2, 1, 2) : ParallelConfig{};
    if (method != Method::megatron) parallel = microbatches(4 / test.samples_of_group);
    const Outcome found = train(test, plan_of(test, method, ranks, parallel));
    for (const double norm : found.norms) EXPECT_FALSE(std::isfinite(norm));
    for (const double loss : found.losses) EXPECT_TRUE(std::isfinite(loss));
    EXPECT_EQ(found.final_state, found.initial);
  }
}

INSTANTIATE_TEST_SUITE_P(All, LowPrecisionLaw,
                         testing::Values(Preset::mlp, Preset::gpt, Preset::llama, Preset::bert,
                                         Preset::moe, Preset::wide_resnet),
                         [](const auto& each) { return name_in_files(each.param); });

// A power of 2 changes no digit of what does not under- or overflow: gradients in fp16 do not
// depend on the loss scale as long as none does.
TEST(LowPrecisionLaw, ALossScaleChangesNothingThatFp16Holds) {
  Case test = low_case(Preset::mlp, Precision::fp16);
  test.steps = 5;
  const Plan plan = plan_of(test, Method::data, 2);
  test.loss_scale = 4096.0;
  const Outcome once = train(test, plan);
  test.loss_scale = 8192.0;
  const Outcome twice = train(test, plan);
  EXPECT_LT(distance(once, twice), 1e-6);
}

}  // namespace
}  // namespace alpa::law
