#pragma once

#include <alpa/solver/problem.hpp>
#include <cstdint>
#include <stop_token>
#include <vector>

namespace alpa {

/// How much work may be done. All limits count work, so that a problem has one answer; only `stop`
/// depends on time.
struct SolveLimits {
  std::int64_t table_entries = 1 << 22;  ///< largest table of variable elimination
  std::int64_t cbc_columns = 20'000;     ///< larger cores are bounded, not given to CBC
  int cbc_nodes = 20'000;                ///< of CBC's branch and bound
  bool tableau_cuts = true;              ///< CBC's Gomory and flow cover cuts, its dearest
  int sweeps = 2'000;                    ///< message passing over a core, there and back
  std::int64_t moves = 20'000;           ///< of local search, each time
  std::stop_token stop;                  ///< asks for the best found so far
};

/// What is known of the answer.
enum class Proof {
  optimal,     ///< no choice costs less; by more than 1e-8 of it, if costs are not whole
  bounded,     ///< none costs less than lower_bound
  infeasible,  ///< no choice is allowed and fits
};

struct Solution {
  std::vector<int> choice;           ///< one option per node; empty if none was found
  double cost = kForbidden;          ///< as `score` gives it
  double lower_bound = -kForbidden;  ///< of every choice's cost; = cost where optimal
  Proof proof = Proof::bounded;
  bool stopped = false;  ///< by `stop`: the answer may vary from run to run
  int core_nodes = 0;    ///< nodes left by exact reduction
  friend bool operator==(const Solution&, const Solution&) = default;
};

/// Solves `problem`: exact reduction, then variable elimination, CBC or bounds by Lagrange
/// multipliers and message passing on what is left. Deterministic unless stopped. Threads may call
/// it at once; they wait for each other where CBC is used.
/// @throws PlanError if the problem is not valid
[[nodiscard]] Solution solve(const Problem& problem, const SolveLimits& limits = {});

}  // namespace alpa
