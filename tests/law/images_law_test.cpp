#include <gtest/gtest.h>

#include "law/models.hpp"
#include "law/random_law.hpp"

/// The law for Wide-ResNets: statistics over one group a microbatch (split with partial sums) and
/// over several, running statistics, windows of all kinds.
namespace alpa::law {
namespace {

Case case_of_images(std::int64_t group, OptimizerKind kind) {
  Case made = case_of_model(tiny_wide_resnet(group), kind);
  made.steps = 4;
  made.make_device = one_thread_cpu;
  return made;
}

// A few plans where the suite is short; so many that every split of every operator is drawn where
// it is long.
TEST(ImagesLaw, RandomPlans) {
  const std::vector<Case> cases = {case_of_images(2, OptimizerKind::momentum),
                                   case_of_images(4, OptimizerKind::adamw),
                                   case_of_images(8, OptimizerKind::adamw)};
  const int plans = num_plans(8);
  if (plans >= 200) {
    expect_law(cases, plans, 21);
    return;
  }
  std::mt19937_64 random(21);
  Coverage coverage;
  for (int i = 0; i < plans; ++i) {
    SCOPED_TRACE("plan " + std::to_string(i));
    const Case& test = cases[static_cast<std::size_t>(i) % cases.size()];
    const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
    run_one(test, truth, random, coverage);
  }
}

TEST(ImagesLaw, Methods) {
  for (const std::int64_t group : {2, 8}) {
    const Case test = case_of_images(group, OptimizerKind::adamw);
    const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
    EXPECT_NE(truth.final_state.at("stem.norm.running_mean"),
              truth.initial.at("stem.norm.running_mean"));
    const auto expect_truth = [&](Method method, int ranks, const ParallelConfig& parallel) {
      SCOPED_TRACE(name_of_method(method) + " on " + std::to_string(ranks) + ", groups of " +
                   std::to_string(group));
      expect_equal(truth, train(test, plan_of(test, method, ranks, parallel)));
    };
    for (const int ranks : {1, 2, 3, 4, 8}) {
      for (const Method method : {Method::data, Method::zero1, Method::zero2, Method::zero3,
                                  Method::intra_only, Method::heuristic}) {
        expect_truth(method, ranks, {});
      }
      expect_truth(Method::megatron, ranks, degrees(1, ranks, 1));
    }
    ParallelConfig cube = degrees(2, 2, 2);
    cube.microbatches = group > 2 ? 1 : 2;
    expect_truth(Method::megatron, 8, cube);
    expect_truth(Method::inter_only, 4, microbatches(*cube.microbatches));
    if (group > 2) continue;
    expect_truth(Method::pipedream, 3, microbatches(4));
    expect_truth(Method::zero3, 2, microbatches(2));
  }
}

}  // namespace
}  // namespace alpa::law
