#include <algorithm>
#include <alpa/base/error.hpp>
#include <alpa/solver/solve.hpp>
#include <utility>

#include "core_solvers.hpp"
#include "integer_program.hpp"

namespace alpa {
namespace {

CoreAnswer solve_core(const Core& core, const SolveLimits& limits) {
  if (auto exact = solve_by_elimination(core, limits)) {
    return std::move(*exact);
  }
  CoreAnswer answer;
  if (program_columns(core) <= limits.cbc_columns) {
    answer = solve_by_cbc(core, answer.choice, limits);
  }
  return answer;
}

}  // namespace

Solution solve(const Problem& problem, const SolveLimits& limits) {
  validate(problem);
  Solution solution;
  const Reduction reduction(problem);
  if (reduction.infeasible()) {
    solution.proof = Proof::infeasible;
    return solution;
  }
  solution.core_nodes = static_cast<int>(reduction.core().nodes.size());
  const CoreAnswer answer = solve_core(reduction.core(), limits);
  solution.stopped = answer.stopped;
  solution.lower_bound = answer.lower_bound;
  if (answer.lower_bound == kForbidden) {
    solution.proof = Proof::infeasible;
    return solution;
  }
  if (!(answer.cost < kForbidden)) {
    return solution;
  }
  solution.choice = reduction.extend(answer.choice);
  const Score checked = score(problem, solution.choice);
  ALPA_CHECK(checked.feasible());
  solution.cost = checked.cost;
  if (answer.lower_bound >= answer.cost) {
    solution.proof = Proof::optimal;
    solution.lower_bound = checked.cost;
  }
  return solution;
}

}  // namespace alpa
