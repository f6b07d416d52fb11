#pragma once

#include <alpa/solver/reduction.hpp>
#include <alpa/solver/solve.hpp>
#include <optional>
#include <vector>

namespace alpa {

/// All costs are whole numbers that sums keep exact.
[[nodiscard]] bool all_whole(const Core& core);

/// The most that a choice better than one of cost `cost` may cost: whole costs differ by one,
/// others count as equal within 1e-8.
[[nodiscard]] double better_cost(double cost, bool whole);

/// Largest finite cost of a core, whatever its sign.
[[nodiscard]] double largest_cost(const Core& core);

/// What a method found out about a core.
struct CoreAnswer {
  std::vector<int> choice;  ///< empty: none found
  double cost = kForbidden;
  double lower_bound = -kForbidden;  ///< +kForbidden: proven infeasible
  bool stopped = false;
};

/// The optimum of a core without rows, by variable elimination; nothing if a table would have more
/// than `limits.table_entries` entries or the core has rows.
[[nodiscard]] std::optional<CoreAnswer> solve_by_elimination(const Core& core,
                                                             const SolveLimits& limits);

/// CBC on the integer program with marginal equalities. `start` (may be empty) is a feasible choice
/// that is kept if CBC finds none better. `prices` of memory, by row, guide the scaling of costs.
[[nodiscard]] CoreAnswer solve_by_cbc(const Core& core, const std::vector<int>& start,
                                      const std::vector<double>& prices, const SolveLimits& limits);

/// Work of one round of bounding.
struct BoundEffort {
  int sweeps = 0;
  int sweeps_per_search = 50;
  std::int64_t moves = 20'000;  ///< of local search, each time
};

struct BoundedCore {
  CoreAnswer answer;
  std::vector<double> prices;            ///< of memory by row, at the best bound
  std::vector<std::vector<bool>> keep;   ///< options that a better choice may take
  std::vector<std::vector<bool>> pairs;  ///< for each edge, pairs that one may take
  int deleted = 0;                       ///< options and pairs not kept
};

/// Bounds by Lagrange multipliers and message passing, choices by decoding and local search,
/// starting from what is known.
[[nodiscard]] BoundedCore bound_core(const Core& core, const CoreAnswer& known,
                                     const BoundEffort& effort, const std::vector<double>& prices,
                                     const SolveLimits& limits);

}  // namespace alpa
