#include <algorithm>
#include <alpa/base/error.hpp>
#include <alpa/solver/solve.hpp>
#include <map>
#include <utility>

#include "core_solvers.hpp"
#include "integer_program.hpp"

namespace alpa {
namespace {

constexpr std::size_t kSmallCore = 100;  ///< nodes: a few sweeps often leave little of it
constexpr int kFewSweeps = 10;
constexpr int kManySweeps = 100;

/// The search: a reduction that shrinks as options are proven useless, and the best choice so far,
/// which may hold options that are gone.
class Search {
 public:
  Search(const Problem& problem, const SolveLimits& limits)
      : problem_(problem), limits_(limits), reduction_(problem) {
    solution_.core_nodes = static_cast<int>(reduction_.core().nodes.size());
  }

  Solution run() {
    while (!closed() && !reduction_.infeasible() && !solve_exactly()) {
      if (!bound()) {
        break;
      }
    }
    return finish();
  }

 private:
  [[nodiscard]] bool closed() const { return solution_.lower_bound >= solution_.cost; }

  /// The core is small or narrow enough to be solved as a whole.
  bool solve_exactly() {
    const Core& core = reduction_.core();
    if (const auto exact = solve_by_elimination(core, limits_)) {
      take(*exact);
      return true;
    }
    const std::int64_t columns = program_columns(core);
    const bool ready =
        swept_ >= kManySweeps || swept_ >= limits_.sweeps || (columns < 2000 && round_ > 0);
    if (columns > limits_.cbc_columns || !ready || limits_.stop.stop_requested()) {
      return false;
    }
    take(solve_by_cbc(core, projected(), known_prices(), limits_));
    return true;
  }

  /// One round of bounds and local search, each twice as long as the last; options that no better
  /// choice takes go. False when the work allowed is done.
  bool bound() {
    const Core& core = reduction_.core();
    const int first = core.nodes.size() < kSmallCore ? kFewSweeps : kManySweeps;
    const int sweeps = std::min(limits_.sweeps - swept_, first << std::min(round_, 10));
    if (sweeps <= 0 || limits_.stop.stop_requested()) {
      solution_.stopped = limits_.stop.stop_requested();
      return false;
    }
    CoreAnswer known;
    known.choice = projected();
    known.cost = solution_.cost;
    known.lower_bound = solution_.lower_bound;
    const BoundedCore found = bound_core(core, known, {.sweeps = sweeps, .moves = limits_.moves},
                                         known_prices(), limits_);
    for (std::size_t t = 0; t < found.prices.size(); ++t) {
      prices_[core.row_ids[t]] = found.prices[t];
    }
    take(found.answer);
    if (!closed() && found.deleted > 0) {
      reduction_.restrict_to(found.keep, found.pairs);
    }
    swept_ += sweeps;
    ++round_;
    return true;
  }

  /// Prices of the core's rows found so far.
  [[nodiscard]] std::vector<double> known_prices() const {
    std::vector<double> prices;
    for (const int row : reduction_.core().row_ids) {
      const auto known = prices_.find(row);
      prices.push_back(known == prices_.end() ? 0.0 : known->second);
    }
    return prices;
  }

  /// The best choice as one of the core; empty if it holds options that are gone.
  [[nodiscard]] std::vector<int> projected() const {
    return solution_.choice.empty() ? std::vector<int>{} : reduction_.project(solution_.choice);
  }

  void take(const CoreAnswer& answer) {
    solution_.stopped = solution_.stopped || answer.stopped;
    if (answer.choice.size() == reduction_.core().nodes.size() && answer.cost < solution_.cost) {
      solution_.choice = reduction_.extend(answer.choice);
      const Score checked = score(problem_, solution_.choice);
      ALPA_CHECK(checked.feasible());
      // Sums in another order differ in the last digits; what was proven stays proven.
      const bool proven = answer.lower_bound >= answer.cost;
      solution_.cost = checked.cost;
      solution_.lower_bound =
          proven ? checked.cost : std::max(solution_.lower_bound, answer.lower_bound);
    } else {
      solution_.lower_bound = std::max(solution_.lower_bound, answer.lower_bound);
    }
    // What is gone costs no less than the best choice.
    solution_.lower_bound = std::min(solution_.lower_bound, solution_.cost);
  }

  Solution finish() {
    if (reduction_.infeasible()) {
      solution_.lower_bound = solution_.cost;  // nothing, or nothing better
    }
    if (solution_.lower_bound == kForbidden) {
      solution_.proof = Proof::infeasible;
    } else if (closed()) {
      solution_.proof = Proof::optimal;
    }
    return std::move(solution_);
  }

  const Problem& problem_;
  const SolveLimits& limits_;
  Reduction reduction_;
  std::map<int, double> prices_;  ///< of memory, by the row's name
  Solution solution_;
  int round_ = 0;
  int swept_ = 0;
};

}  // namespace

Solution solve(const Problem& problem, const SolveLimits& limits) {
  validate(problem);
  return Search(problem, limits).run();
}

}  // namespace alpa
