#pragma once

#include <alpa/solver/problem.hpp>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

namespace alpa {

struct RandomShape {
  int nodes = 7;
  int options = 4;
  double edges = 0.8;       ///< share of pairs
  double forbidden = 0.02;  ///< share of entries
  double ties = 0.05;       ///< share of edges that make one end follow the other
  bool memory = true;
  int largest_cost = 50;
};

/// Numbers from raw bits: the same on every standard library.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : bits_(seed) {}
  int below(int n) { return static_cast<int>(bits_() % static_cast<std::uint64_t>(n)); }
  bool chance(double share) { return static_cast<double>(bits_() >> 11) * 0x1p-53 < share; }

 private:
  std::mt19937_64 bits_;
};

/// A small problem, infeasible at times. Edges repeat, loop and tie nodes at times.
inline Problem random_problem(std::uint64_t seed, const RandomShape& shape) {
  Dice dice(seed);
  Problem problem;
  const auto cost = [&] {
    return dice.chance(shape.forbidden) ? kForbidden : double(dice.below(shape.largest_cost));
  };
  std::int64_t most = 0;
  for (int i = 0; i < shape.nodes; ++i) {
    Problem::Node node;
    const int options = dice.chance(0.1) ? 1 : 2 + dice.below(shape.options - 1);
    for (int p = 0; p < options; ++p) {
      node.costs.push_back(dice.chance(0.03) ? kForbidden : double(dice.below(shape.largest_cost)));
    }
    for (int u = dice.below(3); shape.memory && u > 0; --u) {
      Usage usage{dice.below(10), 0, {}};
      usage.end = usage.begin + dice.below(6);
      std::int64_t largest = 0;
      for (int p = 0; p < options; ++p) {
        usage.amounts.push_back(dice.below(10));
        largest = std::max(largest, usage.amounts.back());
      }
      most += largest;
      node.usages.push_back(usage);
    }
    problem.nodes.push_back(node);
  }
  for (int i = 0; i < shape.nodes; ++i) {
    for (int j = 0; j < shape.nodes; ++j) {
      if (i == j ? !dice.chance(0.05) : !dice.chance(shape.edges / 2)) {
        continue;
      }
      const std::size_t rows = problem.nodes[static_cast<std::size_t>(i)].costs.size();
      const std::size_t columns = problem.nodes[static_cast<std::size_t>(j)].costs.size();
      Problem::Edge edge{i, j, {}};
      const bool tie = dice.chance(shape.ties);
      for (std::size_t p = 0; p < rows; ++p) {
        for (std::size_t q = 0; q < columns; ++q) {
          edge.costs.push_back(tie && q != p % columns ? kForbidden : cost());
        }
      }
      problem.edges.push_back(edge);
    }
  }
  if (shape.memory) {
    problem.usage_limit = static_cast<std::int64_t>(double(most) * (0.25 + 0.05 * dice.below(8)));
  }
  return problem;
}

/// The least cost over all choices that fit, by enumeration; nothing if there is none.
inline std::optional<double> cheapest_of_all(const Problem& problem) {
  std::vector<int> choice(problem.nodes.size(), 0);
  std::optional<double> best;
  for (;;) {
    const Score scored = score(problem, choice);
    if (scored.feasible() && (!best || scored.cost < *best)) {
      best = scored.cost;
    }
    std::size_t d = choice.size();
    while (d > 0 && choice[d - 1] + 1 == static_cast<int>(problem.nodes[d - 1].costs.size())) {
      choice[--d] = 0;
    }
    if (d == 0) {
      return best;
    }
    ++choice[d - 1];
  }
}

}  // namespace alpa
