#include "warm_up.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "inter_op/search_models.hpp"

/// Depths of 1F1B: which there are, what they hide, and what a search makes of them.
namespace alpa::search_tests {
namespace {

struct Pipeline {
  std::vector<StageTimes> stages;
  std::vector<StageTransfer> transfers;

  void add(double forward, double backward, double there, double back) {
    const int s = static_cast<int>(stages.size());
    stages.emplace_back();
    stages.back().forward = {forward};
    stages.back().backward = {backward};
    if (s == 0) return;
    transfers.push_back({s - 1, s, false, {there}});
    transfers.push_back({s, s - 1, true, {back}});
  }

  [[nodiscard]] double time(const std::vector<int>& warm_up, int microbatches) const {
    return makespan(PipelineKind::one_f_one_b, warm_up, microbatches, stages, transfers).value;
  }
};

Pipeline even(int stages, double transfer) {
  Pipeline pipeline;
  for (int s = 0; s < stages; ++s) pipeline.add(1.0, 2.0, transfer, transfer);
  return pipeline;
}

TEST(WarmUp, AllDepthsAreCounted) {
  const std::vector<std::size_t> numbers{1, 2, 6, 22, 92, 420};
  for (int stages = 1; stages <= 6; ++stages) {
    const auto all = all_warm_ups(stages, 64, 420);
    ASSERT_TRUE(all);
    EXPECT_EQ(all->size(), numbers[static_cast<std::size_t>(stages) - 1]);
    EXPECT_EQ(all->front(), least_warm_up(stages));
    EXPECT_EQ((*all)[stages > 1 ? 1 : 0], most_warm_up(stages));
  }
  EXPECT_FALSE(all_warm_ups(7, 64, 420));
  EXPECT_EQ(*all_warm_ups(4, 1, 420), std::vector<std::vector<int>>{least_warm_up(4)});
  EXPECT_EQ((*all_warm_ups(3, 4, 420))[1], (std::vector{4, 3, 1}));
}

/// Eight equal stages, a transfer of 10 % of a forward: two of seven in eight a microbatch are
/// exposed at depth S - s, none at 2(S - s) - 1; it costs 5.5 %, 16 % at 30 % (DESIGN, PLANNER 2).
TEST(WarmUp, HidesTransfersOfEqualStages) {
  for (const auto& [transfer, share] : {std::pair{0.1, 0.055}, std::pair{0.3, 0.164}}) {
    const Pipeline pipeline = even(8, transfer);
    const SteadyState steady(pipeline.stages, pipeline.transfers);
    EXPECT_NEAR(steady.period(least_warm_up(8)), 3.0 + 2.0 * transfer * 7 / 8, 1e-9);
    EXPECT_DOUBLE_EQ(steady.period(most_warm_up(8)), 3.0);
    EXPECT_EQ(steady.least_depths(most_warm_up(8)), most_warm_up(8));
    const double hidden = pipeline.time(most_warm_up(8), 128);
    EXPECT_NEAR(pipeline.time(least_warm_up(8), 128) / hidden - 1.0, share, 0.003);
  }
}

/// Stages that are a tenth faster than the last one need less than all depth.
TEST(WarmUp, FasterStagesNeedLess) {
  Pipeline pipeline;
  for (int s = 0; s < 8; ++s) pipeline.add(0.14, s < 7 ? 0.38 : 0.436, 0.045, 0.045);
  const SteadyState steady(pipeline.stages, pipeline.transfers);
  const std::vector<int> depth = steady.least_depths(most_warm_up(8));
  EXPECT_LT(depth[0], 13);
  EXPECT_DOUBLE_EQ(steady.period(depth), steady.least_period());
  EXPECT_DOUBLE_EQ(pipeline.time(depth, 128), pipeline.time(most_warm_up(8), 128));
  EXPECT_LT(pipeline.time(depth, 128), 0.96 * pipeline.time(least_warm_up(8), 128));
}

/// Against every depth there is, with memory for some of it.
TEST(WarmUp, LeastDepthsAreTheBestThereAre) {
  std::mt19937_64 random(5);
  const auto draw = [&](double low, double high) {
    return low + (high - low) * static_cast<double>(random() % 1000) / 1000.0;
  };
  int deeper = 0;
  for (int i = 0; i < 60; ++i) {
    const int stages = 2 + static_cast<int>(random() % 3);
    Pipeline pipeline;
    for (int s = 0; s < stages; ++s) {
      pipeline.add(draw(0.8, 1.0), draw(1.6, 2.0), draw(0.0, 0.6), draw(0.0, 0.6));
    }
    const auto all = *all_warm_ups(stages, 64, 420);
    const std::vector<int> most = all[random() % all.size()];
    const SteadyState steady(pipeline.stages, pipeline.transfers);
    const std::vector<int> depth = steady.least_depths(most);
    double least = pipeline.time(depth, 64);
    for (const std::vector<int>& other : all) {
      const bool allowed = std::equal(other.begin(), other.end(), most.begin(), std::less_equal{});
      if (allowed) least = std::min(least, pipeline.time(other, 64));
    }
    EXPECT_TRUE(std::equal(depth.begin(), depth.end(), most.begin(), std::less_equal{}));
    EXPECT_NE(std::find(all.begin(), all.end(), depth), all.end());
    EXPECT_LE(pipeline.time(depth, 64), 1.01 * least) << i;
    deeper += depth != all.front() ? 1 : 0;
  }
  EXPECT_GT(deeper, 20);
}

/// A pipeline of equal stages on four hosts of one device whose messages are not cheap.
SearchRequest slow_pipeline() {
  SearchRequest request = request_of(mlp(16, 128), cluster(4, 1, 1e8), 64);
  request.recompute = Recompute::none;
  request.constraints.microbatches = 32;
  request.constraints.stages = 4;
  request.more_schedules = false;
  return request;
}

TEST(WarmUp, SearchGoesAsDeepAsItPays) {
  SearchRequest request = slow_pipeline();
  const SearchResult free = search(request);
  request.constraints.warm_up = LeastDepth{};
  const SearchResult least = search(request);
  request.constraints.warm_up = MostDepth{};
  const SearchResult most = search(request);
  ASSERT_TRUE(free.plan && least.plan && most.plan);
  EXPECT_EQ(least.plan->warm_up, least_warm_up(4));
  EXPECT_EQ(most.plan->warm_up, most_warm_up(4));
  EXPECT_GT(free.plan->warm_up, least_warm_up(4));
  EXPECT_LT(free.price.step_time.value, 0.99 * least.price.step_time.value);
  EXPECT_LE(free.price.step_time.value, most.price.step_time.value * (1.0 + 1e-9));
  EXPECT_EQ(price_of(request, *free.plan).step_time, free.price.step_time);
  EXPECT_LE(free.lower_bound, free.price.step_time.value);
}

/// With little more memory than the plan without it, less of it is left, and it fits. (Borders are
/// moved as long as that helps, from other ones: the plan may be another.)
TEST(WarmUp, FitsIntoTheMemoryThereIs) {
  SearchRequest request = slow_pipeline();
  request.constraints.warm_up = LeastDepth{};
  const SearchResult least = search(request);
  request.constraints.warm_up.reset();
  const SearchResult free = search(request);
  ASSERT_TRUE(least.plan && free.plan);
  ASSERT_GT(largest(free.price), largest(least.price));
  for (const double share : {0.0, 0.5}) {
    request.memory_limit = Bytes{
        static_cast<std::int64_t>((1.0 - share) * static_cast<double>(largest(least.price).value) +
                                  share * static_cast<double>(largest(free.price).value))};
    request.constraints.warm_up = LeastDepth{};
    const SearchResult shallow = search(request);
    request.constraints.warm_up.reset();
    const SearchResult found = search(request);
    ASSERT_TRUE(shallow.plan && found.plan);
    EXPECT_LE(largest(found.price), *request.memory_limit);
    EXPECT_GE(found.price.step_time.value, free.price.step_time.value * (1.0 - 1e-9));
    EXPECT_LE(found.price.step_time.value, shallow.price.step_time.value * 1.02);
  }
}

TEST(WarmUp, AListIsKept) {
  SearchRequest request = slow_pipeline();
  request.constraints.warm_up = std::vector<std::int64_t>{5, 4, 2, 1};
  EXPECT_EQ(search(request).plan->warm_up, (std::vector{5, 4, 2, 1}));
  request.constraints.warm_up = std::vector<std::int64_t>{5, 4, 3};
  EXPECT_THROW((void)search(request), PlanError);
  request.constraints.warm_up = std::vector<std::int64_t>{4, 2, 2, 1};
  EXPECT_THROW((void)search(request), PlanError);
  request.constraints.warm_up = MostDepth{};
  request.constraints.schedule = PipelineKind::gpipe;
  EXPECT_THROW((void)search(request), PlanError);
}

}  // namespace
}  // namespace alpa::search_tests
