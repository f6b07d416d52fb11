#include <gtest/gtest.h>

#include "inter_op/search_models.hpp"

/// The best pipeline of a search tried interleaved and zero-bubble.
namespace alpa::search_tests {
namespace {

/// A pipeline of few microbatches on four hosts of one device, slow to reach if not said otherwise.
SearchRequest pipeline(int layers, double between = 1e7) {
  SearchRequest request = request_of(mlp(layers, 128), cluster(4, 1, between), 64);
  request.recompute = Recompute::none;
  request.constraints.microbatches = 8;
  request.constraints.stages = 4;
  return request;
}

/// Whether the plan is none of the space.
bool is_tried(const SearchResult& found) {
  return found.plan->schedule == PipelineKind::interleaved ||
         found.plan->schedule == PipelineKind::zero_bubble;
}

double time_of(const SearchResult& found) { return found.price.step_time.value; }

TEST(ScheduleMoves, IsTakenWhereItIsCheaper) {
  SearchRequest request = pipeline(16);
  const SearchResult found = search(request);
  request.more_schedules = false;
  const SearchResult plain = search(request);
  ASSERT_TRUE(found.plan && plain.plan);
  EXPECT_FALSE(is_tried(plain));
  ASSERT_TRUE(is_tried(found));
  EXPECT_EQ(found.plan->method, "auto");
  EXPECT_LT(time_of(found), 0.95 * time_of(plain));
  EXPECT_EQ(price_of(request, *found.plan).step_time, found.price.step_time);
  EXPECT_NO_THROW(validate(*found.plan, request.graph(64 / found.plan->num_microbatches)));
}

/// The bound of the other schedules does not hold for it; that of the work does.
TEST(ScheduleMoves, HasABoundThatHoldsForItToo) {
  SearchRequest request = pipeline(16);
  const SearchResult found = search(request);
  request.constraints.schedule = PipelineKind::one_f_one_b;
  const SearchResult plain = search(request);
  ASSERT_TRUE(is_tried(found));
  ASSERT_EQ(plain.plan->schedule, PipelineKind::one_f_one_b);
  EXPECT_GT(found.lower_bound, 0.5 * time_of(found));
  EXPECT_LT(found.lower_bound, time_of(found));
  EXPECT_LE(found.lower_bound, plain.lower_bound);
}

/// Its stash is larger: with the memory that the other plan needs it does not fit.
TEST(ScheduleMoves, IsNotTakenWhereItDoesNotFit) {
  SearchRequest request = pipeline(16);
  const SearchResult free = search(request);
  ASSERT_TRUE(is_tried(free));
  request.memory_limit = Bytes{largest(free.price).value - 1};
  const SearchResult found = search(request);
  ASSERT_TRUE(found.plan);
  EXPECT_LE(largest(found.price), *request.memory_limit);
  EXPECT_GE(time_of(found), time_of(free));
  const SearchResult again = search(request);
  EXPECT_EQ(*again.plan, *found.plan);
}

/// A stage of one layer has no second chunk, but two halves of its backward.
TEST(ScheduleMoves, ZeroBubbleNeedsNoLayers) {
  const SearchResult found = search(pipeline(4, 1e9));
  ASSERT_TRUE(found.plan);
  EXPECT_EQ(found.plan->schedule, PipelineKind::zero_bubble);
}

TEST(ScheduleMoves, ASetScheduleIsKept) {
  for (const PipelineKind schedule : {PipelineKind::gpipe, PipelineKind::one_f_one_b}) {
    SearchRequest request = pipeline(8);
    request.constraints.schedule = schedule;
    EXPECT_EQ(search(request).plan->schedule, schedule);
  }
}

}  // namespace
}  // namespace alpa::search_tests
