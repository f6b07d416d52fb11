#pragma once

#include <cstdlib>
#include <iostream>

#include <gtest/gtest.h>

#include "law/coverage.hpp"
#include "law/harness.hpp"
#include "law/models.hpp"

/// Random plans give the numbers of one rank, on all devices, queues in any order.
namespace alpa::law {

/// Plans a model; ALPA_LAW_PLANS sets another number (the tests labelled slow).
inline int num_plans(int otherwise) {
  const char* wanted = std::getenv("ALPA_LAW_PLANS");
  return wanted == nullptr ? otherwise : std::atoi(wanted);
}

inline void expect_equal(const Outcome& truth, const Outcome& found) {
  const Difference d = compare(truth, found);
  EXPECT_TRUE(d.initial_equal);
  EXPECT_LT(d.losses, 1e-9);
  EXPECT_LT(d.norms, 1e-9);
  EXPECT_LT(d.evaluation, 1e-9);
  EXPECT_LT(d.state, 1e-9) << d.worst_tensor;
  EXPECT_NE(found.final_state, found.initial);
}

/// Runs the case under one random plan and compares with the truth.
inline void run_one(Case test, const Outcome& truth, std::mt19937_64& random, Coverage& coverage) {
  const int world = 1 + static_cast<int>(random() % 8);
  const Plan plan = random_plan(test, world, random);
  const auto device = random() % 4;
  if (device >= 2) test.make_device = one_thread_cpu;
  if (device == 1 && world <= 3) test.make_device = make_debug_device;
  if (random() % 2 == 0) test.shuffle_seed = random();
  const Outcome found = train(test, plan);
  expect_equal(truth, found);
  coverage.add(graph_of(test, plan), plan, found);
}

/// At least `plans` plans, and up to eight times as many until everything has been executed.
inline void expect_law(const std::vector<Case>& cases, int plans, std::uint64_t seed,
                       bool everything = true) {
  std::vector<Outcome> truths;
  for (const Case& test : cases) {
    truths.push_back(train(test, single_rank_plan(test.make_graph(test.global_batch))));
  }
  std::mt19937_64 random(seed);
  Coverage coverage;
  for (int i = 0; i < plans || (everything && i < 8 * plans && !coverage.missing().empty()); ++i) {
    SCOPED_TRACE("plan " + std::to_string(i) + " of seed " + std::to_string(seed));
    const std::size_t c = static_cast<std::size_t>(i) % cases.size();
    run_one(cases[c], truths[c], random, coverage);
    if (testing::Test::HasFailure()) return;
  }
  std::cout << coverage.table();
  if (everything) {
    EXPECT_EQ(coverage.missing(), std::vector<std::string>{});
  }
}

}  // namespace alpa::law
