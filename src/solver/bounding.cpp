// Bounds and choices of a core too large to be solved at once.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core_solvers.hpp"
#include "lagrangian.hpp"
#include "local_search.hpp"

namespace alpa {

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

namespace {

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

double better_cost(double cost, bool whole) {
  if (cost == kForbidden) return kForbidden;
  return whole ? cost - 1.0 + 1e-6 : cost - 1e-8 * std::abs(cost);
}

double largest_cost(const Core& core) {
  double most = 0.0;
  const auto look = [&most](const std::vector<double>& costs) {
    for (const double cost : costs) {
      most = cost < kForbidden ? std::max(most, std::abs(cost)) : most;
    }
  };
  for (const Core::Node& node : core.nodes) {
    look(node.costs);
  }
  for (const Problem::Edge& edge : core.edges) {
    look(edge.costs);
  }
  return most;
}

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
  const double largest = largest_cost(core);
  const auto size_of = [&](double bound) {
    return std::max(std::abs(bound - core.constant), largest);
  };
  double& lower = result.answer.lower_bound;
  double best_cost = known.cost;
  const auto closed = [&] { return lower >= best_cost; };
  // Only a better choice is wanted: with whole costs, better by one.
  const auto wanted = [&] { return better_cost(best_cost, whole); };
  const auto note_bound = [&](double bound) {
    lower = bound > wanted() ? best_cost : std::max(lower, whole ? std::ceil(bound - 1e-6) : bound);
  };
  for (int sweep = 0; sweep < effort.sweeps && !closed(); ++sweep) {
    if (limits.stop.stop_requested()) {
      result.answer.stopped = true;
      break;
    }
    const double bound = bounds.sweep();
    note_bound(bound);
    search.offer(bounds.labels());
    // In a short round a search repairs what does not fit; elsewhere labels do.
    const bool last = sweep == effort.sweeps - 1 && effort.sweeps < effort.sweeps_per_search;
    if (sweep % effort.sweeps_per_search == effort.sweeps_per_search - 1 ||
        (last && !core.capacities.empty())) {
      search.anneal(search.best().empty() || sweep % 2 == 0 ? bounds.labels() : search.best(),
                    ascent.best_prices(), 1e-3 * size_of(bound), effort.moves, limits.stop);
    }
    best_cost = std::min(best_cost, search.best_cost());
    const double guess = bound + 0.05 * size_of(bound);
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
      keep.push_back(bound <= wanted());
      result.deleted += keep.back() ? 0 : 1;
    }
    result.keep.push_back(std::move(keep));
  }
  result.pairs = bounds.useful_pairs(wanted());
  for (std::size_t e = 0; e < result.pairs.size(); ++e) {
    for (std::size_t k = 0; k < result.pairs[e].size(); ++k) {
      result.deleted += core.edges[e].costs[k] < kForbidden && !result.pairs[e][k] ? 1 : 0;
    }
  }
  return result;
}

}  // namespace alpa
