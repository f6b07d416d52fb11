#pragma once

#include <alpa/solver/reduction.hpp>
#include <alpa/solver/solve.hpp>
#include <optional>
#include <vector>

namespace alpa {

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
/// that is kept if CBC finds none better.
[[nodiscard]] CoreAnswer solve_by_cbc(const Core& core, const std::vector<int>& start,
                                      const SolveLimits& limits);

}  // namespace alpa
