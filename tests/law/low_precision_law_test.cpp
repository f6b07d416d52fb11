#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include <gtest/gtest.h>

#include "law/closed_forms.hpp"
#include "law/models.hpp"

/// bf16 and fp16: any plan stays as near to fp32 as one rank does, and what is gathered is halved.
namespace alpa::law {
namespace {

constexpr int kSteps = 20;

std::unique_ptr<Device> one_thread_cpu() { return make_cpu_device(1); }

// Momentum, not Adam: that divides gradients by their size, so that those near 0 carry a rounding
// to the parameters at full length, and distances say nothing any more.
Case low_case(Preset preset, Precision precision, int steps = kSteps) {
  Case test = case_of({preset, OptimizerKind::momentum, precision, 0.5});
  test.steps = steps;
  test.make_device = one_thread_cpu;
  if (precision == Precision::fp16) test.loss_scale = 1024.0;
  return test;
}

/// What one rank gives, once per model and precision.
const Outcome& truth_of(Preset preset, Precision precision) {
  static std::map<std::pair<Preset, Precision>, Outcome> known;
  const std::pair key(preset, precision);
  auto it = known.find(key);
  if (it == known.end()) {
    const Case test = low_case(preset, precision);
    const Plan plan = single_rank_plan(test.make_graph(test.global_batch));
    it = known.emplace(key, train(test, plan)).first;
  }
  return it->second;
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

TEST(LowPrecisionLaw, OneRankStaysCloseToFp32) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const Outcome& wide = truth_of(preset, Precision::fp32);
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      const Outcome& low = truth_of(preset, precision);
      EXPECT_TRUE(compare(wide, low).initial_equal);  // the master copy starts alike
      const double found = distance(wide, low);
      EXPECT_GT(found, 0.0);
      EXPECT_LT(found, 4.0 * rounding(precision)) << name_of(precision);
    }
  }
}

struct Setting {
  Preset preset;
  Precision precision;
  Method method;
  int ranks;
  ParallelConfig parallel = {};
};

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      for (const Method method : {Method::data, Method::zero1, Method::zero2, Method::zero3,
                                  Method::pipedream, Method::heuristic}) {
        all.push_back({preset, precision, method, 2});
      }
      all.push_back({preset, precision, Method::zero3, 4, microbatches(2)});
      all.push_back({preset, precision, Method::inter_only, 3, microbatches(4)});
      all.push_back({preset, precision, Method::megatron, 8, degrees(2, 2, 2)});
    }
  }
  return all;
}

TEST(LowPrecisionLaw, PlansByHandStayAsCloseAsOneRank) {
  for (const Setting& s : settings()) {
    const Case test = low_case(s.preset, s.precision);
    const Outcome found = train(test, plan_of(test, s.method, s.ranks, s.parallel));
    EXPECT_LT(distance(truth_of(s.preset, Precision::fp32), found), allowed(s.preset, s.precision))
        << name_of(s.precision) << " " << name_of_method(s.method) << " of " << s.ranks
        << (s.preset == Preset::gpt ? " gpt" : " mlp");
  }
}

TEST(LowPrecisionLaw, RandomPlansStayAsCloseAsOneRank) {
  std::mt19937_64 random(47);
  for (int i = 0; i < 24; ++i) {
    const Preset preset = i % 2 == 0 ? Preset::mlp : Preset::gpt;
    const Precision precision = i % 4 < 2 ? Precision::bf16 : Precision::fp16;
    Case test = low_case(preset, precision);
    if (i % 3 == 0) test.make_device = make_reference_device;
    if (i % 5 == 0) test.shuffle_seed = 100 + i;
    const Plan plan = random_plan(test, 1 + static_cast<int>(random() % 6), random);
    const Outcome found = train(test, plan);
    EXPECT_LT(distance(truth_of(preset, Precision::fp32), found), allowed(preset, precision))
        << "plan " << i;
  }
}

// A power of 2 changes no digit of what does not under- or overflow: gradients in fp16 do not
// depend on the loss scale as long as none does.
TEST(LowPrecisionLaw, ALossScaleChangesNothingThatFp16Holds) {
  Case test = low_case(Preset::mlp, Precision::fp16, 5);
  const Plan plan = plan_of(test, Method::data, 2);
  test.loss_scale = 4096.0;
  const Outcome once = train(test, plan);
  test.loss_scale = 8192.0;
  const Outcome twice = train(test, plan);
  EXPECT_LT(distance(once, twice), 1e-6);
}

// A scale at which gradients overflow: no rank updates anything, under any plan.
TEST(LowPrecisionLaw, OverflowLeavesAllStateAlone) {
  for (const auto& [method, ranks] : {std::pair{Method::data, 1},
                                      {Method::zero1, 2},
                                      {Method::zero3, 2},
                                      {Method::pipedream, 3},
                                      {Method::megatron, 4}}) {
    Case test = low_case(Preset::gpt, Precision::fp16, 2);
    test.loss_scale = 0x1p40;
    const ParallelConfig parallel = method == Method::megatron ? degrees(2, 1, 2) : microbatches(4);
    const Outcome found = train(test, plan_of(test, method, ranks, parallel));
    for (const double norm : found.norms) EXPECT_FALSE(std::isfinite(norm));
    for (const double loss : found.losses) EXPECT_TRUE(std::isfinite(loss));
    EXPECT_EQ(found.final_state, found.initial);
  }
}

}  // namespace
}  // namespace alpa::law
