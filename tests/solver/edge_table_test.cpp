// Tables that hold equal rows and columns once, against the matrices that they stand for.
#include "../../src/solver/edge_table.hpp"

#include <alpa/solver/solve.hpp>

#include <gtest/gtest.h>

#include "../../src/solver/core_solvers.hpp"
#include "random_problems.hpp"

namespace alpa {
namespace {

/// A matrix, row by row.
using Matrix = std::vector<std::vector<double>>;

/// Whose rows and columns are often equal.
Matrix random_matrix(Dice& dice, std::size_t rows, std::size_t columns) {
  const int kinds = dice.below(6) + 1;
  Matrix few(static_cast<std::size_t>(kinds), std::vector<double>(static_cast<std::size_t>(kinds)));
  for (auto& row : few) {
    for (double& cost : row) cost = dice.below(5) == 0 ? kForbidden : dice.below(4);
  }
  std::vector<std::size_t> of_row(rows), of_column(columns);
  for (auto& kind : of_row) kind = static_cast<std::size_t>(dice.below(kinds));
  for (auto& kind : of_column) kind = static_cast<std::size_t>(dice.below(kinds));
  Matrix matrix(rows, std::vector<double>(columns));
  for (std::size_t p = 0; p < rows; ++p) {
    for (std::size_t q = 0; q < columns; ++q) matrix[p][q] = few[of_row[p]][of_column[q]];
  }
  return matrix;
}

std::vector<double> flat(const Matrix& matrix) {
  std::vector<double> all;
  for (const auto& row : matrix) all.insert(all.end(), row.begin(), row.end());
  return all;
}

EdgeTable table_of(const Matrix& matrix) {
  return {matrix.size(), matrix.front().size(), flat(matrix)};
}

Matrix transposed(const Matrix& matrix) {
  Matrix other(matrix.front().size(), std::vector<double>(matrix.size()));
  for (std::size_t p = 0; p < matrix.size(); ++p) {
    for (std::size_t q = 0; q < matrix[p].size(); ++q) other[q][p] = matrix[p][q];
  }
  return other;
}

void expect_equal(const EdgeTable& table, const Matrix& matrix) {
  EXPECT_EQ(table.dense(), flat(matrix));
  for (const bool flipped : {false, true}) {
    const EdgeView view(table, flipped);
    const Matrix seen = flipped ? transposed(matrix) : matrix;
    ASSERT_EQ(view.rows, seen.size());
    ASSERT_EQ(view.columns, seen.front().size());
    for (std::size_t p = 0; p < view.rows; ++p) {
      for (std::size_t q = 0; q < view.columns; ++q) EXPECT_EQ(view(p, q), seen[p][q]);
    }
    // No class is without options, and they are numbered as they come.
    std::size_t next = 0;
    for (std::size_t p = 0; p < view.rows; ++p) {
      ASSERT_LE(view.class_of_row(p), next);
      if (view.class_of_row(p) == next) ++next;
    }
    EXPECT_EQ(next, view.row_classes);
  }
}

TEST(EdgeTable, IsTheMatrixWhateverIsDoneToIt) {
  std::size_t smaller = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Dice dice(seed);
    const auto size = [&] { return static_cast<std::size_t>(dice.below(30) + 1); };
    Matrix matrix = random_matrix(dice, size(), size());
    EdgeTable table = table_of(matrix);
    expect_equal(table, matrix);
    for (int step = 0; step < 6; ++step) {
      const bool rows = dice.below(2) == 0;
      if (!rows) matrix = transposed(matrix);  // so that what changes are rows
      switch (dice.below(3)) {
        case 0: {
          std::vector<bool> keep(matrix.size());
          Matrix left;
          for (std::size_t p = 0; p < keep.size(); ++p) {
            keep[p] = p == 0 || dice.below(3) > 0;
            if (keep[p]) left.push_back(matrix[p]);
          }
          table.keep(rows, keep);
          matrix = left;
          break;
        }
        case 1: {
          std::vector<std::size_t> follows(size());
          Matrix left;
          for (std::size_t& p : follows) {
            p = static_cast<std::size_t>(dice.below(static_cast<int>(matrix.size())));
            left.push_back(matrix[p]);
          }
          table.select(rows, follows);
          matrix = left;
          break;
        }
        default: {
          const Matrix more = random_matrix(dice, matrix.size(), matrix.front().size());
          table.add(table_of(more), !rows);
          for (std::size_t p = 0; p < matrix.size(); ++p) {
            for (std::size_t q = 0; q < matrix[p].size(); ++q) matrix[p][q] += more[p][q];
          }
        }
      }
      if (!rows) matrix = transposed(matrix);
      expect_equal(table, matrix);
      const EdgeView view(table, false);
      smaller += view.row_classes < view.rows ? 1 : 0;
    }
  }
  EXPECT_GT(smaller, 300U);
}

/// The problem with several options in place of each, of which the others cost more by themselves.
Problem with_more_options(const Problem& problem, Dice& dice) {
  Problem more = problem;
  std::vector<std::vector<std::size_t>> like(problem.nodes.size());
  for (std::size_t i = 0; i < problem.nodes.size(); ++i) {
    auto& costs = more.nodes[i].costs;
    for (std::size_t p = 0; p < problem.nodes[i].costs.size(); ++p) like[i].push_back(p);
    for (int extra = 0; extra < 12; ++extra) {
      const auto p = static_cast<std::size_t>(dice.below(static_cast<int>(like[i].size())));
      like[i].push_back(like[i][p]);
      costs.push_back(problem.nodes[i].costs[like[i][p]] + dice.below(3));
    }
    for (Usage& usage : more.nodes[i].usages) {
      const auto amounts = usage.amounts;
      usage.amounts.clear();
      for (const std::size_t p : like[i]) usage.amounts.push_back(amounts[p]);
    }
  }
  for (Problem::Edge& edge : more.edges) {
    const auto first = static_cast<std::size_t>(edge.first);
    const auto second = static_cast<std::size_t>(edge.second);
    const std::vector<double> costs = edge.costs;
    edge.costs.clear();
    for (const std::size_t p : like[first]) {
      for (const std::size_t q : like[second]) {
        edge.costs.push_back(costs[p * problem.nodes[second].costs.size() + q]);
      }
    }
  }
  return more;
}

TEST(EdgeTable, OptionsThatOnlyCostMoreChangeNoOptimum) {
  int solved = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    Dice dice(seed);
    const Problem problem = random_problem(seed, {});
    const Solution few = solve(problem);
    const Solution many = solve(with_more_options(problem, dice));
    ASSERT_EQ(few.proof == Proof::infeasible, many.proof == Proof::infeasible) << seed;
    if (few.proof != Proof::optimal) continue;
    EXPECT_EQ(many.proof, Proof::optimal) << seed;
    EXPECT_NEAR(many.cost, few.cost, 1e-9 * std::max(1.0, std::abs(few.cost))) << seed;
    ++solved;
  }
  EXPECT_GT(solved, 75);
}

/// Where no choice is known yet, none is too dear.
TEST(Bounding, WithoutAChoiceNothingIsRuledOut) {
  EXPECT_EQ(better_cost(kForbidden, false), kForbidden);
  EXPECT_EQ(better_cost(kForbidden, true), kForbidden);
}

}  // namespace
}  // namespace alpa
