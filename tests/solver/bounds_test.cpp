// Soundness of what removes options and claims bounds, against enumeration.
#include <algorithm>
#include <alpa/solver/reduction.hpp>
#include <alpa/solver/solve.hpp>

#include <gtest/gtest.h>

#include "../../src/solver/core_solvers.hpp"
#include "../../src/solver/lagrangian.hpp"
#include "random_problems.hpp"

namespace alpa {
namespace {

/// The least cost of the choices of a core that take each option.
std::vector<std::vector<double>> cheapest_by_option(const Core& core) {
  std::vector<std::vector<double>> least;
  for (const Core::Node& node : core.nodes) {
    least.emplace_back(node.costs.size(), kForbidden);
  }
  std::vector<int> choice(core.nodes.size(), 0);
  for (bool more = true; more;) {
    const double cost = core_cost(core, choice);
    more = false;
    for (std::size_t d = 0; d < choice.size(); ++d) {
      double& known = least[d][static_cast<std::size_t>(choice[d])];
      known = std::min(known, cost);
    }
    for (std::size_t d = 0; d < choice.size() && !more; ++d) {
      more = choice[d] + 1 < static_cast<int>(core.nodes[d].costs.size());
      choice[d] = more ? choice[d] + 1 : 0;
    }
  }
  return least;
}

TEST(Lagrangian, BoundsEveryOptionForAnyPricesAfterAnySweep) {
  int options = 0;
  int tight = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Reduction reduction(random_problem(seed, {.ties = 0.0}));
    if (reduction.infeasible() || reduction.core().nodes.empty()) {
      continue;
    }
    const Core& core = reduction.core();
    const auto least = cheapest_by_option(core);
    Lagrangian bounds(core);
    Dice dice(seed);
    for (int round = 0; round < 6; ++round) {
      const double all = bounds.sweep();
      const auto claimed = bounds.option_bounds();
      for (std::size_t i = 0; i < least.size(); ++i) {
        for (std::size_t p = 0; p < least[i].size(); ++p) {
          EXPECT_LE(claimed[i][p], least[i][p] + 1e-9) << seed;
          EXPECT_LE(all, claimed[i][p] + 1e-9) << seed;
          ++options;
          tight += claimed[i][p] > least[i][p] - 1e-6 ? 1 : 0;
        }
      }
      std::vector<double> prices(core.capacities.size());
      for (double& price : prices) {
        price = dice.below(20) * 0.1;
      }
      bounds.set_prices(prices);
    }
  }
  EXPECT_GT(options, 1000);
  EXPECT_GT(tight, 50);
}

TEST(Bounding, KeepsEveryOptionOfABetterChoice) {
  int deleted = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Reduction reduction(random_problem(seed, {.ties = 0.0}));
    if (reduction.infeasible() || reduction.core().nodes.empty()) {
      continue;
    }
    const Core& core = reduction.core();
    const auto least = cheapest_by_option(core);
    const std::vector<double> free(core.capacities.size(), 0.0);
    const BoundedCore found =
        bound_core(core, {}, {.sweeps = 7, .sweeps_per_search = 3, .moves = 10}, free, {});
    for (std::size_t i = 0; i < least.size(); ++i) {
      for (std::size_t p = 0; p < least[i].size(); ++p) {
        EXPECT_TRUE(found.keep[i][p] || least[i][p] >= found.answer.cost) << seed;
        deleted += found.keep[i][p] ? 0 : 1;
      }
    }
  }
  EXPECT_GT(deleted, 100);
}

TEST(Solve, BoundsAndCbcAgreeOnLargerProblems) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Problem problem = random_problem(seed, {.nodes = 12 + static_cast<int>(seed % 8),
                                                  .options = 5,
                                                  .edges = 0.3,
                                                  .forbidden = seed % 3 == 0 ? 0.1 : 0.0,
                                                  .largest_cost = 1000});
    const Solution both = solve(problem);
    const Solution cbc_alone = solve(problem, {.sweeps = 0, .stop = {}});
    EXPECT_EQ(both.proof, cbc_alone.proof) << seed;
    EXPECT_NE(both.proof, Proof::bounded) << seed;
    EXPECT_EQ(both.cost, cbc_alone.cost) << seed;
  }
}

TEST(Solve, UnitsOfCostAndMemoryDoNotMatter) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Problem whole = random_problem(seed, {.nodes = 6, .ties = 0.0});
    const std::optional<double> best = cheapest_of_all(whole);
    Problem scaled = whole;  // microseconds to seconds, units to gigabytes
    const auto shrink = [](std::vector<double>& costs) {
      for (double& cost : costs) {
        cost *= 1.1e-7;
      }
    };
    for (Problem::Node& node : scaled.nodes) {
      shrink(node.costs);
      for (Usage& usage : node.usages) {
        for (std::int64_t& amount : usage.amounts) {
          amount *= 1'000'000'007;
        }
      }
    }
    for (Problem::Edge& edge : scaled.edges) {
      shrink(edge.costs);
    }
    scaled.usage_limit = *whole.usage_limit * 1'000'000'007;
    const Solution solution = solve(scaled);
    EXPECT_EQ(solution.proof, best ? Proof::optimal : Proof::infeasible) << seed;
    if (best) {
      EXPECT_NEAR(solution.cost, *best * 1.1e-7, 1e-8 * *best * 1.1e-7) << seed;
    }
  }
}

}  // namespace
}  // namespace alpa
