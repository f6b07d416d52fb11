#include "fit.hpp"

#include <gtest/gtest.h>

namespace alpa::probe_detail {
namespace {

/// Seconds of every sample as if each moved `bytes_rate` bytes and did `flop_rate` FLOPs a second.
std::vector<std::vector<double>> ideal(const std::vector<SampleSeries>& all, double bytes_rate,
                                       double flop_rate) {
  std::vector<std::vector<double>> seconds;
  for (const SampleSeries& series : all) {
    seconds.emplace_back();
    for (std::size_t i = 0; i < series.samples.size(); ++i) {
      const double rate = series.by_flops ? flop_rate : bytes_rate;
      seconds.back().push_back(1e-6 + work_of_sample(series, i) / rate);
    }
  }
  return seconds;
}

const KernelTable& table_of(const DeviceKind& kind, const SampleSeries& series) {
  const std::string& name = series.samples.front().work.kind;
  for (const KernelTable& table : kind.kernels) {
    if (table.kernel == name && table.intensity == series.intensity) return table;
  }
  ADD_FAILURE() << name;
  return kind.kernels.front();
}

// One slow small sample, the rest not measured: larger work is not slower in proportion.
TEST(Fit, ACutSeriesGoesOnAtTheRateOfTheOthers) {
  const std::vector<SampleSeries> all = all_samples(DType::f32);
  auto seconds = ideal(all, 1e10, 1e11);
  const std::size_t first = 0;
  ASSERT_TRUE(all[first].by_flops);
  for (double& time : seconds[first]) time = 0.0;
  seconds[first][0] = 1e-2;
  const DeviceKind kind = device_kind_of(all, seconds, DType::f32);
  const double most = work_of_sample(all[first], all[first].samples.size() - 1);
  const auto& [work, time] = table_of(kind, all[first]).points.back();
  EXPECT_EQ(work, most);
  EXPECT_NEAR(time, 1e-2 + most / 1e11, 0.1 * most / 1e11);
}

TEST(Fit, NoSampleTakesMoreThanALargerOne) {
  const std::vector<SampleSeries> all = all_samples(DType::f32);
  auto seconds = ideal(all, 1e10, 1e11);
  const DeviceKind kind = device_kind_of(all, seconds, DType::f32);
  seconds[0][0] = 1.0;  // something else ran meanwhile
  const KernelTable disturbed = table_of(device_kind_of(all, seconds, DType::f32), all[0]);
  const KernelTable& quiet = table_of(kind, all[0]);
  ASSERT_EQ(disturbed.points.size(), quiet.points.size());
  EXPECT_EQ(disturbed.points[0].second, quiet.points[1].second);
  for (std::size_t i = 1; i < quiet.points.size(); ++i) {
    EXPECT_EQ(disturbed.points[i], quiet.points[i]);
  }
}

}  // namespace
}  // namespace alpa::probe_detail
