#include <gtest/gtest.h>

#include "inter_op/search_models.hpp"

/// The best pipeline of a search tried with several chunks a stage.
namespace alpa::search_tests {
namespace {

/// Four hosts of one device that are slow to reach: a pipeline, of few microbatches.
SearchRequest pipeline(int layers) {
  SearchRequest request = request_of(mlp(layers, 128), cluster(4, 1, 1e7), 64);
  request.recompute = Recompute::none;
  request.constraints.microbatches = 8;
  request.constraints.stages = 4;
  return request;
}

double time_of(const SearchResult& found) { return found.price.step_time.value; }

TEST(Interleaved, IsTakenWhereItIsCheaper) {
  SearchRequest request = pipeline(16);
  const SearchResult found = search(request);
  request.interleaved = false;
  const SearchResult plain = search(request);
  ASSERT_TRUE(found.plan && plain.plan);
  EXPECT_NE(plain.plan->schedule, PipelineKind::interleaved);
  ASSERT_EQ(found.plan->schedule, PipelineKind::interleaved);
  EXPECT_EQ(found.plan->method, "auto");
  EXPECT_LT(time_of(found), 0.95 * time_of(plain));
  EXPECT_EQ(price_of(request, *found.plan).step_time, found.price.step_time);
  EXPECT_NO_THROW(validate(*found.plan, request.graph(64 / found.plan->num_microbatches)));
}

/// The bound of the other schedules does not hold for it; that of the work does.
TEST(Interleaved, HasABoundThatHoldsForItToo) {
  SearchRequest request = pipeline(16);
  const SearchResult found = search(request);
  request.constraints.schedule = PipelineKind::one_f_one_b;
  const SearchResult plain = search(request);
  ASSERT_EQ(found.plan->schedule, PipelineKind::interleaved);
  ASSERT_EQ(plain.plan->schedule, PipelineKind::one_f_one_b);
  EXPECT_GT(found.lower_bound, 0.5 * time_of(found));
  EXPECT_LT(found.lower_bound, time_of(found));
  EXPECT_LE(found.lower_bound, plain.lower_bound);
}

/// Its stash is larger: with the memory that the other plan needs it does not fit.
TEST(Interleaved, IsNotTakenWhereItDoesNotFit) {
  SearchRequest request = pipeline(16);
  const SearchResult free = search(request);
  ASSERT_EQ(free.plan->schedule, PipelineKind::interleaved);
  request.memory_limit = Bytes{largest(free.price).value - 1};
  const SearchResult found = search(request);
  ASSERT_TRUE(found.plan);
  EXPECT_LE(largest(found.price), *request.memory_limit);
  EXPECT_GE(time_of(found), time_of(free));
  const SearchResult again = search(request);
  EXPECT_EQ(*again.plan, *found.plan);
}

/// A stage of one layer has no second chunk.
TEST(Interleaved, NeedsLayers) {
  const SearchResult found = search(pipeline(4));
  ASSERT_TRUE(found.plan);
  EXPECT_NE(found.plan->schedule, PipelineKind::interleaved);
}

TEST(Interleaved, ASetScheduleIsKept) {
  for (const PipelineKind schedule : {PipelineKind::gpipe, PipelineKind::one_f_one_b}) {
    SearchRequest request = pipeline(8);
    request.constraints.schedule = schedule;
    EXPECT_EQ(search(request).plan->schedule, schedule);
  }
}

}  // namespace
}  // namespace alpa::search_tests
