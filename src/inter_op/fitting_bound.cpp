#include "fitting_bound.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kMostPrices = 12;
constexpr double kApart = 1.001;         ///< prices that are told apart
constexpr int kFewLayers = 16;           ///< of runs whose choices are gone through
constexpr std::size_t kMostPoints = 64;  ///< of a frontier
constexpr std::size_t kMostLevels = 12;  ///< of bytes needed at once
constexpr double kRounding = 1e-9;       ///< of sums

bool same(double a, double b) { return std::abs(a - b) <= kRounding * std::max(a, b); }

double sum(const std::vector<double>& sums, int first, int last) {
  return sums[static_cast<std::size_t>(last) + 1] - sums[static_cast<std::size_t>(first)];
}

}  // namespace

/// Of more than kMostPoints neighbours become one that is as good as both.
void FittingBound::keep_best(Frontier& points) {
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return a.seconds != b.seconds ? a.seconds < b.seconds : a.stash < b.stash;
  });
  std::size_t kept = 0;
  for (const Point& point : points) {
    if (kept > 0 && point.stash >= points[kept - 1].stash) continue;
    points[kept++] = point;
  }
  points.resize(kept);
  while (points.size() > kMostPoints) {
    for (std::size_t k = 0; 2 * k < points.size(); ++k) {
      const std::size_t next = std::min(2 * k + 1, points.size() - 1);
      points[k] = {points[2 * k].seconds, points[next].stash};
    }
    points.resize((points.size() + 1) / 2);
  }
}

FittingBound::Level::Level(double least, double most, const std::vector<std::vector<Way>>& ways)
    : transient_(least), needing_{0}, lacking_{0}, stash_{0.0} {
  std::vector<Frontier> all;  // [kind] of all ways
  std::vector<double> prices{0.0};
  for (const std::vector<Way>& of_layer : ways) {
    Frontier points;
    bool needs = false;
    for (const Way& way : of_layer) {
      if (way.transient > most) continue;
      points.push_back(way.point);
      needs = needs || way.transient >= least;
    }
    needing_.push_back(needing_.back() + (needs ? 1 : 0));
    lacking_.push_back(lacking_.back() + (points.empty() ? 1 : 0));
    const auto known = std::find_if(all.begin(), all.end(), [&](const Frontier& other) {
      return std::equal(points.begin(), points.end(), other.begin(), other.end(),
                        [](const Point& a, const Point& b) {
                          return same(a.seconds, b.seconds) && same(a.stash, b.stash);
                        });
    });
    kind_of_.push_back(static_cast<int>(known - all.begin()));
    if (known == all.end()) {
      all.push_back(points);
      keep_best(points);
      for (std::size_t a = 0; a < points.size(); ++a) {
        for (std::size_t b = a + 1; b < points.size(); ++b) {
          prices.push_back((points[b].seconds - points[a].seconds) /
                           (points[a].stash - points[b].stash));
        }
      }
      choices_.push_back(std::move(points));
    }
    const Frontier& choices = choices_[static_cast<std::size_t>(kind_of_.back())];
    stash_.push_back(stash_.back() + (choices.empty() ? 0.0 : choices.back().stash));
  }
  of_run_.resize(kind_of_.size() * kFewLayers, nullptr);
  std::sort(prices.begin(), prices.end());
  const auto close = [](double a, double b) { return b <= a * kApart; };
  prices.erase(std::unique(prices.begin(), prices.end(), close), prices.end());
  const std::size_t steps = std::min(prices.size(), kMostPrices);
  for (std::size_t k = 0; k < steps; ++k) {
    const double price = prices[steps == prices.size() ? k : k * (prices.size() - 1) / (steps - 1)];
    Priced priced{price, {0.0}};
    for (const int kind : kind_of_) {
      const Frontier& choices = choices_[static_cast<std::size_t>(kind)];
      double of_kind = choices.empty() ? 0.0 : kInfinity;
      for (const Point& point : choices) {
        of_kind = std::min(of_kind, point.seconds + price * point.stash);
      }
      priced.sums.push_back(priced.sums.back() + of_kind);
    }
    priced_.push_back(std::move(priced));
  }
}

const FittingBound::Frontier& FittingBound::Level::frontier(int first, int last) const {
  const Frontier*& found = of_run_[static_cast<std::size_t>(first * kFewLayers + last - first)];
  if (found != nullptr) return *found;
  std::vector<int> kinds(kind_of_.begin() + first, kind_of_.begin() + last + 1);
  std::sort(kinds.begin(), kinds.end());
  const auto known = frontiers_.find(kinds);
  if (known != frontiers_.end()) return *(found = &known->second);
  const Frontier& of_last =
      choices_[static_cast<std::size_t>(kind_of_[static_cast<std::size_t>(last)])];
  Frontier points;
  if (first == last) {
    points = of_last;
  } else {
    for (const Point& a : frontier(first, last - 1)) {
      for (const Point& b : of_last) points.push_back({a.seconds + b.seconds, a.stash + b.stash});
    }
    keep_best(points);
  }
  return *(found = &frontiers_.emplace(std::move(kinds), std::move(points)).first->second);
}

double FittingBound::Level::least(int first, int last) const {
  const auto begin = static_cast<std::size_t>(first), end = static_cast<std::size_t>(last) + 1;
  return lacking_[end] > lacking_[begin] ? kInfinity : sum(priced_.front().sums, first, last);
}

double FittingBound::Level::of(int first, int last, double in_flight, double left) const {
  double most = least(first, last);
  if (most == kInfinity || left < in_flight * sum(stash_, first, last)) return kInfinity;
  for (const Priced& priced : priced_) {
    most = std::max(most, sum(priced.sums, first, last) - priced.price / in_flight * left);
  }
  if (last - first >= kFewLayers) return most;
  const Frontier& points = frontier(first, last);
  const double of_one = (1.0 + kRounding) * left / in_flight;
  const auto fits = std::find_if(points.begin(), points.end(),
                                 [&](const Point& point) { return point.stash <= of_one; });
  return std::max(most, fits == points.end() ? kInfinity : (1.0 - kRounding) * fits->seconds);
}

FittingBound::FittingBound(const std::vector<std::vector<double>>& seconds, const LeastBytes& bytes)
    : state_(bytes.state()) {
  std::vector<std::vector<Way>> ways(state_.size() - 1);
  std::vector<double> transients;
  for (std::size_t l = 0; l < ways.size(); ++l) {
    const int layer = static_cast<int>(l);
    for (std::size_t w = 0; w < seconds.size(); ++w) {
      const Point point{sum(seconds[w], layer, layer), sum(bytes.stash_of(w), layer, layer)};
      ways[l].push_back({point, bytes.transient_of(w)[l]});
      transients.push_back(bytes.transient_of(w)[l]);
    }
  }
  std::sort(transients.begin(), transients.end());
  transients.erase(std::unique(transients.begin(), transients.end()), transients.end());
  std::vector<std::pair<double, double>> levels;  // least, most
  for (const double transient : transients) levels.emplace_back(transient, transient);
  while (levels.size() > kMostLevels) {
    std::size_t closest = 0;
    const auto width = [&](std::size_t k) { return levels[k + 1].second - levels[k].first; };
    for (std::size_t k = 1; k + 1 < levels.size(); ++k) {
      if (width(k) < width(closest)) closest = k;
    }
    levels[closest].second = levels[closest + 1].second;
    levels.erase(levels.begin() + static_cast<std::ptrdiff_t>(closest) + 1);
  }
  for (const auto& [least, most] : levels) levels_.emplace_back(least, most, ways);
}

double FittingBound::of(int first, int last, double in_flight, double room) const {
  const double left = room - sum(state_, first, last);
  double found = kInfinity;
  for (const Level& level : levels_) {
    if (level.needing(first, last) == 0) continue;  // as with less
    found = std::min(found, level.of(first, last, in_flight, left - level.transient()));
    if (found <= levels_.back().least(first, last)) break;
  }
  return found;
}

}  // namespace alpa
