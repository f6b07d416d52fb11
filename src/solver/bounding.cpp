// Bounds and choices of a core too large to be solved at once.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core_solvers.hpp"
#include "lagrangian.hpp"
#include "local_search.hpp"

namespace alpa {
namespace {

bool all_whole(const Core& core) {
  const auto whole = [](double cost) {
    return cost == std::floor(cost) && std::abs(cost) < 0x1p50;
  };
  const auto allowed_whole = [&whole](double cost) { return cost == kForbidden || whole(cost); };
  return whole(core.constant) &&
         std::all_of(core.nodes.begin(), core.nodes.end(),
                     [&](const Core::Node& node) {
                       return std::all_of(node.costs.begin(), node.costs.end(), whole);
                     }) &&
         std::all_of(core.edges.begin(), core.edges.end(), [&](const Problem::Edge& edge) {
           return std::all_of(edge.costs.begin(), edge.costs.end(), allowed_whole);
         });
}

/// Prices of memory go up where the decoded labels exceed a row, by Polyak's steps along an average
/// of the excesses.
class PriceAscent {
 public:
  PriceAscent(const Core& core, std::vector<double> prices)
      : core_(core),
        best_prices_(prices),
        direction_(prices.size(), 0.0),
        prices_(std::move(prices)) {}

  /// @param target a cost to aim at, above the bound
  const std::vector<double>& next(const std::vector<int>& labels, double bound, double target) {
    if (bound > best_ + 1e-6 * std::abs(target - best_) || best_ == -kForbidden) {
      best_ = std::max(best_, bound);
      best_prices_ = prices_;
      stale_ = 0;
    } else if (++stale_ > 15) {
      step_ *= 0.7;
      stale_ = 0;
      prices_ = best_prices_;
    }
    const std::vector<std::int64_t> used = core_rows(core_, labels);
    double norm = 0.0;
    for (std::size_t t = 0; t < prices_.size(); ++t) {
      const auto excess = static_cast<double>(used[t] - core_.capacities[t]);
      direction_[t] = 0.7 * direction_[t] + 0.3 * excess;
      if (prices_[t] > 0.0 || direction_[t] > 0.0) {
        norm += direction_[t] * direction_[t];
      }
    }
    if (norm > 0.0) {
      const double length = step_ * std::max(target - bound, 0.0) / norm;
      for (std::size_t t = 0; t < prices_.size(); ++t) {
        prices_[t] = std::max(0.0, prices_[t] + length * direction_[t]);
      }
    }
    return prices_;
  }
  [[nodiscard]] const std::vector<double>& best_prices() const { return best_prices_; }

 private:
  const Core& core_;
  double best_ = -kForbidden;
  double step_ = 1.0;
  int stale_ = 0;
  std::vector<double> best_prices_;
  std::vector<double> direction_;
  std::vector<double> prices_;
};

}  // namespace

BoundedCore bound_core(const Core& core, const CoreAnswer& known, const BoundEffort& effort,
                       const std::vector<double>& prices, const SolveLimits& limits) {
  BoundedCore result;
  result.answer = known;
  LocalSearch search(core);
  if (!known.choice.empty()) {
    search.offer(known.choice);
  }
  Lagrangian bounds(core);
  PriceAscent ascent(core, prices);
  bounds.set_prices(prices);
  const bool whole = all_whole(core);
  double& lower = result.answer.lower_bound;
  double best_cost = known.cost;
  const auto closed = [&] { return lower >= best_cost; };
  const auto note_bound = [&](double bound) {
    lower = std::max(lower, whole ? std::ceil(bound - 1e-6) : bound);
    lower = std::min(lower, best_cost);
  };
  for (int sweep = 0; sweep < effort.sweeps && !closed(); ++sweep) {
    if (limits.stop.stop_requested()) {
      result.answer.stopped = true;
      break;
    }
    const double bound = bounds.sweep();
    note_bound(bound);
    search.offer(bounds.labels());
    if (sweep % effort.sweeps_per_search == effort.sweeps_per_search - 1) {
      const double scale = std::abs(bound) + 1.0;
      search.anneal(search.best().empty() || sweep % 2 == 0 ? bounds.labels() : search.best(),
                    ascent.best_prices(), 1e-3 * scale, effort.moves, limits.stop);
    }
    best_cost = std::min(best_cost, search.best_cost());
    const double guess = bound + 0.05 * (std::abs(bound) + 1.0);
    const double target = best_cost < kForbidden ? std::min(best_cost, guess) : guess;
    bounds.set_prices(ascent.next(bounds.labels(), bound, target));
  }
  bounds.set_prices(ascent.best_prices());
  for (int k = 0; k < 3 && !closed() && effort.sweeps > 0; ++k) {
    note_bound(bounds.sweep());
  }
  result.prices = ascent.best_prices();
  if (search.best_cost() < result.answer.cost) {
    result.answer.cost = search.best_cost();
    result.answer.choice = search.best();
  }
  const auto options = bounds.option_bounds();
  for (const std::vector<double>& node : options) {
    std::vector<bool> keep;
    for (const double bound : node) {
      // Only a strictly better choice is wanted: with whole costs, better by one.
      const double wanted = whole ? best_cost - 1.0 + 1e-6 : best_cost;
      keep.push_back(bound <= wanted);
      result.deleted += bound <= wanted ? 0 : 1;
    }
    result.keep.push_back(std::move(keep));
  }
  return result;
}

}  // namespace alpa
