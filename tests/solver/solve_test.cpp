#include <algorithm>
#include <alpa/base/error.hpp>
#include <alpa/solver/reduction.hpp>
#include <alpa/solver/solve.hpp>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "random_problems.hpp"

namespace alpa {
namespace {

/// Solves and compares with enumeration; returns the nodes that reduction left.
int expect_optimum(const Problem& problem, const std::string& name,
                   const SolveLimits& limits = {}) {
  const std::optional<double> best = cheapest_of_all(problem);
  const Solution solution = solve(problem, limits);
  if (!best) {
    EXPECT_EQ(solution.proof, Proof::infeasible) << name;
    EXPECT_TRUE(solution.choice.empty()) << name;
    return solution.core_nodes;
  }
  EXPECT_EQ(solution.proof, Proof::optimal) << name;
  EXPECT_EQ(solution.cost, *best) << name;
  EXPECT_EQ(solution.lower_bound, *best) << name;
  const Score scored = score(problem, solution.choice);
  EXPECT_TRUE(scored.feasible()) << name;
  EXPECT_EQ(scored.cost, solution.cost) << name;
  return solution.core_nodes;
}

TEST(Solve, EqualsEnumerationWithMemory) {
  int infeasible = 0;
  int with_core = 0;
  for (std::uint64_t seed = 0; seed < 900; ++seed) {
    const Problem problem = random_problem(
        seed, {.nodes = 3 + static_cast<int>(seed % 5), .forbidden = seed % 3 == 0 ? 0.15 : 0.02});
    with_core += expect_optimum(problem, "seed " + std::to_string(seed)) > 0 ? 1 : 0;
    infeasible += cheapest_of_all(problem) ? 0 : 1;
  }
  EXPECT_GT(infeasible, 50);
  EXPECT_LT(infeasible, 450);
  EXPECT_GT(with_core, 90) << "too easy: reduction alone solves nearly all";
}

TEST(Solve, EqualsEnumerationWithoutMemory) {
  int with_core = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Problem problem = random_problem(
        seed, {.nodes = 8, .options = 3, .edges = 1.0, .ties = 0.0, .memory = false});
    with_core += expect_optimum(problem, "seed " + std::to_string(seed)) > 0 ? 1 : 0;
  }
  EXPECT_GT(with_core, 30);
}

TEST(Solve, EqualsEnumerationOnDenseProblemsWithMemory) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    expect_optimum(
        random_problem(
            seed,
            {.nodes = 8, .options = 3, .edges = 0.9, .forbidden = 0.02, .largest_cost = 100'000}),
        "seed " + std::to_string(seed));
  }
}

/// Work limits of zero: nothing but reduction, bounds and what they find.
TEST(Solve, BoundIsNeverAboveTheOptimumHoweverLittleWorkIsDone) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const Problem problem = random_problem(seed, {.nodes = 7, .edges = 0.8, .forbidden = 0.03});
    const std::optional<double> best = cheapest_of_all(problem);
    const Solution solution = solve(problem, {.table_entries = 0,
                                              .cbc_columns = 0,
                                              .cbc_nodes = 0,
                                              .sweeps = static_cast<int>(seed % 50),
                                              .stop = {}});
    if (!best) {
      EXPECT_TRUE(solution.choice.empty()) << seed;
      continue;
    }
    EXPECT_NE(solution.proof, Proof::infeasible) << seed;
    EXPECT_LE(solution.lower_bound, *best) << seed;
    if (!solution.choice.empty()) {
      EXPECT_GE(solution.cost, *best) << seed;
      EXPECT_EQ(score(problem, solution.choice).cost, solution.cost) << seed;
    }
    EXPECT_EQ(solution.proof == Proof::optimal, solution.lower_bound == solution.cost) << seed;
  }
}

TEST(Solve, SameAnswerAgainAndFromManyThreads) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Problem problem = random_problem(seed, {.nodes = 16, .forbidden = 0.0, .ties = 0.0});
    const Solution once = solve(problem);
    std::vector<Solution> again(3);
    {
      std::vector<std::jthread> threads;
      for (Solution& solution : again) {
        threads.emplace_back([&problem, &solution] { solution = solve(problem); });
      }
    }
    for (const Solution& solution : again) {
      EXPECT_EQ(solution, once) << seed;
    }
  }
}

TEST(Solve, StopTokenGivesWhatIsKnown) {
  std::stop_source source;
  source.request_stop();
  const Problem problem = random_problem(5, {.nodes = 40, .forbidden = 0.0, .ties = 0.0});
  const Solution solution = solve(problem, {.stop = source.get_token()});
  EXPECT_TRUE(solution.stopped);
  EXPECT_NE(solution.proof, Proof::infeasible);
  if (!solution.choice.empty()) {
    EXPECT_TRUE(score(problem, solution.choice).feasible());
    EXPECT_LE(solution.lower_bound, solution.cost);
  }
}

TEST(Solve, EmptyProblemsAndNodesWithoutOptions) {
  EXPECT_EQ(solve({}).proof, Proof::optimal);
  EXPECT_EQ(solve({}).cost, 0.0);
  Problem problem;
  problem.nodes.push_back({});
  EXPECT_EQ(solve(problem).proof, Proof::infeasible);
  problem.nodes[0].costs = {3.0, 2.0};
  EXPECT_EQ(solve(problem).choice, std::vector<int>{1});
  problem.usage_limit = -1;
  EXPECT_EQ(solve(problem).proof, Proof::infeasible);
}

TEST(Solve, MemoryForcesTheDearerOption) {
  Problem problem;
  problem.nodes = {{{0.0, 5.0}, {{0, 4, {10, 1}}}}, {{0.0, 3.0}, {{3, 6, {10, 1}}}}};
  problem.usage_limit = 12;  // one of the two must take the small option
  const Solution solution = solve(problem);
  EXPECT_EQ(solution.choice, (std::vector<int>{0, 1}));
  problem.nodes[1].usages[0].begin = 4;  // they no longer meet
  EXPECT_EQ(solve(problem).cost, 0.0);
}

TEST(Reduce, ExtendedChoicesScoreAsTheCoreSays) {
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const Problem problem = random_problem(seed, {.nodes = 12, .edges = 0.7, .forbidden = 0.03});
    const Reduction reduction(problem);
    if (reduction.infeasible()) {
      continue;
    }
    Dice dice(seed);
    for (int round = 0; round < 20; ++round) {
      std::vector<int> choice;
      for (const Core::Node& node : reduction.core().nodes) {
        choice.push_back(dice.below(static_cast<int>(node.costs.size())));
      }
      const double expected = core_cost(reduction.core(), choice);
      const std::vector<int> whole = reduction.extend(choice);
      const Score scored = score(problem, whole);
      EXPECT_EQ(scored.feasible(), expected < kForbidden) << seed;
      if (expected < kForbidden) {
        EXPECT_EQ(scored.cost, expected) << seed;
        EXPECT_EQ(reduction.project(whole), choice) << seed;
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 500);
}

TEST(Reduce, KeepsTheOptimum) {
  for (std::uint64_t seed = 1000; seed < 1300; ++seed) {
    const Problem problem = random_problem(seed, {.nodes = 6, .edges = 0.8, .forbidden = 0.05});
    const std::optional<double> best = cheapest_of_all(problem);
    const Reduction reduction(problem);
    if (!best) {
      continue;
    }
    ASSERT_FALSE(reduction.infeasible()) << seed;
    Problem core;  // enumerated by core_cost
    for (const Core::Node& node : reduction.core().nodes) {
      core.nodes.push_back({node.costs, {}});
    }
    double least = kForbidden;
    std::vector<int> choice(core.nodes.size(), 0);
    for (bool more = true; more;) {
      least = std::min(least, core_cost(reduction.core(), choice));
      more = false;
      for (std::size_t d = 0; d < choice.size() && !more; ++d) {
        more = choice[d] + 1 < static_cast<int>(core.nodes[d].costs.size());
        choice[d] = more ? choice[d] + 1 : 0;
      }
    }
    EXPECT_EQ(least, *best) << seed;
  }
}

TEST(Reduce, ChainsVanish) {
  Dice dice(1);
  Problem problem;
  for (int i = 0; i < 2000; ++i) {
    Problem::Node node;
    for (int p = 0; p < 5; ++p) {
      node.costs.push_back(dice.below(100));
    }
    problem.nodes.push_back(node);
    if (i > 0) {
      Problem::Edge edge{i - 1, i, {}};
      for (int k = 0; k < 25; ++k) {
        edge.costs.push_back(dice.below(100));
      }
      problem.edges.push_back(edge);
    }
  }
  EXPECT_TRUE(Reduction(problem).core().nodes.empty());
}

}  // namespace
}  // namespace alpa
