#include <alpa/base/error.hpp>
#include <alpa/solver/problem.hpp>
#include <alpa/solver/solve.hpp>
#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "random_problems.hpp"

namespace alpa {
namespace {

std::string refusal(const Problem& problem) {
  try {
    validate(problem);
  } catch (const PlanError& error) {
    return error.what();
  }
  return "";
}

Problem two_nodes() {
  Problem problem;
  problem.nodes = {{{1.0, 2.0}, {{0, 2, {3, 4}}}}, {{5.0, 6.0, 7.0}, {}}};
  problem.edges = {{0, 1, {0, 1, 2, 3, 4, 5}}};
  problem.usage_limit = 10;
  return problem;
}

TEST(Problem, MistakesAreNamed) {
  EXPECT_EQ(refusal(two_nodes()), "");
  Problem problem = two_nodes();
  problem.edges[0].costs.pop_back();
  EXPECT_NE(refusal(problem).find("edge 0: 5 costs, expected 6"), std::string::npos);
  problem = two_nodes();
  problem.edges[0].second = 2;
  EXPECT_NE(refusal(problem).find("edge 0: joins nodes 0 and 2 of 2"), std::string::npos);
  problem = two_nodes();
  problem.nodes[1].costs[2] = std::nan("");
  EXPECT_NE(refusal(problem).find("node 1: a cost is nan"), std::string::npos);
  problem = two_nodes();
  problem.nodes[0].usages[0].amounts[1] = -4;
  EXPECT_NE(refusal(problem).find("node 0: a usage is -4"), std::string::npos);
  problem = two_nodes();
  problem.nodes[0].usages[0].amounts = {1};
  EXPECT_NE(refusal(problem).find("node 0: 1 usages for 2 options"), std::string::npos);
  problem = two_nodes();
  problem.nodes[0].usages.assign(3, {0, 1, {0, std::int64_t{1} << 61}});
  EXPECT_NE(refusal(problem).find("exceeds 2^62"), std::string::npos);
  problem = two_nodes();
  problem.edges[0].second_classes = {0, 1};
  EXPECT_NE(refusal(problem).find("edge 0: 2 classes of 3 options"), std::string::npos);
  problem.edges[0].second_classes = {0, 2, 1};
  EXPECT_NE(refusal(problem).find("edge 0: class 2"), std::string::npos);
  problem.edges[0].second_classes = {0, 1, 0};
  EXPECT_NE(refusal(problem).find("edge 0: 6 costs, expected 4"), std::string::npos);
  EXPECT_THROW((void)solve(problem), PlanError);
}

TEST(Problem, ScoreAddsCostsAndFindsThePeak) {
  Problem problem = two_nodes();
  const std::vector<int> choice{1, 2};
  EXPECT_EQ(score(problem, choice).cost, 2.0 + 7.0 + 5.0);
  EXPECT_EQ(score(problem, choice).peak, 4);
  problem.nodes[1].usages = {{2, 5, {9, 9, 9}},
                             {4, 4, {100, 100, 100}}};  // begins as the other ends
  EXPECT_EQ(score(problem, choice).peak, 9);
  problem.nodes[1].usages[0].begin = 1;
  EXPECT_EQ(score(problem, choice).peak, 13);
  EXPECT_FALSE(score(problem, choice).fits);
}

// Options that an edge does not tell apart may be told so or not.
TEST(Problem, ClassesOfOptionsSayWhatTheirCostsSay) {
  Dice dice(7);
  int smaller = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Problem plain = random_problem(seed, {.nodes = 5, .options = 12, .memory = seed % 2 == 0});
    const auto options = [&](int node) {
      return plain.nodes[static_cast<std::size_t>(node)].costs.size();
    };
    Problem merged = plain;
    for (std::size_t e = 0; e < plain.edges.size(); ++e) {
      Problem::Edge& edge = plain.edges[e];
      const std::size_t rows = options(edge.first);
      const std::size_t columns = options(edge.second);
      const std::vector<double> all = edge.costs;
      for (std::size_t k = 0; k < all.size(); ++k) {  // few rows and columns differ
        edge.costs[k] = all[k / columns / 2 * columns + k % columns / 3];
      }
      merged.edges[e] = merged_edge(edge.first, rows, edge.second, columns, edge.costs);
      for (std::size_t k = 0; k < edge.costs.size(); ++k) {
        EXPECT_EQ(pair_cost(merged, merged.edges[e], k / columns, k % columns), edge.costs[k]);
      }
      if (edge.costs.size() > 100) {
        EXPECT_LT(merged.edges[e].costs.size(), edge.costs.size() / 3);
        ++smaller;
      }
    }
    EXPECT_EQ(refusal(merged), "");
    std::vector<int> choice;
    for (const auto& node : plain.nodes) {
      choice.push_back(dice.below(static_cast<int>(node.costs.size())));
    }
    EXPECT_EQ(score(merged, choice).cost, score(plain, choice).cost);
    EXPECT_EQ(solve(merged), solve(plain));
  }
  EXPECT_GT(smaller, 5);
}

TEST(Problem, HyperEdgesCountTheirTuple) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Dice dice(seed);
    const Problem plain = random_problem(seed, {.nodes = 5, .forbidden = 0.05, .memory = false});
    const std::vector<int> ends{3, 0, 4};
    std::size_t tuples = 1;
    for (const int end : ends) {
      tuples *= plain.nodes[static_cast<std::size_t>(end)].costs.size();
    }
    std::vector<double> costs;
    for (std::size_t t = 0; t < tuples; ++t) {
      costs.push_back(dice.chance(0.2) ? kForbidden : dice.below(30));
    }
    Problem problem = plain;
    add_hyper_edge(problem, ends, costs);
    const Solution solution = solve(problem);
    double best = kForbidden;
    std::vector<int> choice(plain.nodes.size(), 0);
    for (bool more = true; more;) {
      std::size_t tuple = 0;
      for (const int end : ends) {
        tuple = tuple * plain.nodes[static_cast<std::size_t>(end)].costs.size() +
                static_cast<std::size_t>(choice[static_cast<std::size_t>(end)]);
      }
      best = std::min(best, score(plain, choice).cost + costs[tuple]);
      more = false;
      for (std::size_t d = 0; d < choice.size() && !more; ++d) {
        more = choice[d] + 1 < static_cast<int>(plain.nodes[d].costs.size());
        choice[d] = more ? choice[d] + 1 : 0;
      }
    }
    EXPECT_EQ(solution.cost, best) << seed;
  }
  Problem problem = two_nodes();
  EXPECT_THROW(add_hyper_edge(problem, std::vector<int>{0, 1}, std::vector<double>{1.0}),
               PlanError);
}

}  // namespace
}  // namespace alpa
