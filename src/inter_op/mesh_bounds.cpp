#include "mesh_bounds.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "side_by_side.hpp"

namespace alpa {
namespace {

constexpr int kRounds = 3;  ///< of making the bound of a layer closer
constexpr int kMostRoundsOfLayer = 10;
constexpr double kGain = 1.0005;      ///< by which prices of bytes must raise a bound
constexpr int kMostPairs = 7;         ///< of prices tried
constexpr double kFirstShare = 0.1;   ///< of a stage's time over its memory: first price tried
constexpr double kLeastShare = 1e-3;  ///< of it: last one
constexpr double kPriceStep = 1.25;   ///< from price to price
constexpr int kWide = 8;              ///< steps between the first prices
constexpr int kNear = 2;              ///< the same where a good price is known
constexpr double kMore = 0.02;  ///< of a proof: where it falls so much, prices between are tried
constexpr double kStashSteps = 4.0;  ///< to a doubling of the stashes that are told apart
constexpr double kRounding = 1e-9;   ///< of logarithms

}  // namespace

RunBounds::RunBounds(const std::vector<int>& classes, const std::vector<double>& floor)
    : sums_(floor) {
  std::map<std::pair<int, int>, int> kinds;  // what layers take to the next is theirs
  for (std::size_t l = 0; l < classes.size(); ++l) {
    const int next = l + 1 < classes.size() ? classes[l + 1] : -1;
    kind_of_.push_back(
        kinds.try_emplace({classes[l], next}, static_cast<int>(kinds.size())).first->second);
    floor_.push_back(floor[l + 1] - floor[l]);
  }
  known_.resize(kinds.size());
}

bool RunBounds::are_known(int first, int last) const {
  return std::all_of(kind_of_.begin() + first, kind_of_.begin() + last + 1,
                     [&](int kind) { return known_[static_cast<std::size_t>(kind)].rounds >= 0; });
}

void RunBounds::know(int first, int last, int rounds,
                     const std::function<void(int layer, int kind, Known& known)>& ask) {
  bool changed = false;
  for (int l = first; l <= last; ++l) {
    const int kind = kind_of_[static_cast<std::size_t>(l)];
    Known& known = known_[static_cast<std::size_t>(kind)];
    if (known.rounds >= rounds) continue;
    ask(l, kind, known);
    known.rounds = rounds;
    changed = true;
  }
  if (!changed) return;
  for (std::size_t l = 0; l < kind_of_.size(); ++l) {
    sums_[l + 1] =
        sums_[l] + std::max(floor_[l], known_[static_cast<std::size_t>(kind_of_[l])].bound);
  }
}

StageWeights MeshBounds::weights(double price, double stashes) const {
  StageWeights weights;
  weights.forward = weights.backward = microbatches_;
  weights.state_byte = price;
  weights.stash_byte = price * stashes;
  return weights;
}

double MeshBounds::step(const BoundRun& run) const {
  const auto sum = [&](const std::vector<double>& sums) {
    return sums[static_cast<std::size_t>(run.last) + 1] - sums[static_cast<std::size_t>(run.first)];
  };
  double most = share_ * (step_ ? step_->of(run.first, run.last) : sum(floor_));
  for (const Priced* priced : counted_) {
    if (priced->stashes <= run.stashes) most = std::max(most, proof(*priced, run));
  }
  return most;
}

void MeshBounds::look(int first, int last, const Solver& solver) {
  if (!step_) step_.emplace(solver.classes, floor_);
  step_->know(first, last, 0, [&](int layer, int kind, RunBounds::Known& known) {
    LayerHints& hints = hints_[kind];
    hints.ways.resize(1);
    known.bound = solver.bound(weights(), layer, 0, hints.ways.front());
    hints.seen.push_back({0.0, 0.0, 0, known.bound});
  });
}

void MeshBounds::look_at_each(int first, int last, const Solver& solver) {
  StageWeights weights;
  weights.prepare = weights.reduce = weights.update = 0.0;
  if (!each_) each_.emplace(solver.classes, std::vector<double>(floor_.size(), 0.0));
  each_->know(first, last, 0, [&](int layer, int kind, RunBounds::Known& known) {
    BoundHints hints = hints_[kind].ways.empty() ? BoundHints{} : hints_[kind].ways.front();
    for (int round = 0; round <= kRounds; ++round) {
      known.bound = std::max(known.bound, solver.bound(weights, layer, 0, hints));
    }
  });
}

std::pair<int, double> MeshBounds::step_of(double stashes) {
  const int step = static_cast<int>(std::floor(kStashSteps * std::log2(stashes) + kRounding));
  return {step, std::exp2(step / kStashSteps) * (1.0 - kRounding)};
}

double MeshBounds::price_of(int step) const { return std::pow(kPriceStep, step) / room_; }

MeshBounds::Priced& MeshBounds::at(const Point& point, const Solver& solver) {
  const auto [found, is_new] =
      points_.try_emplace(point, Priced{price_of(point.second),
                                        std::exp2(point.first / kStashSteps) * (1.0 - kRounding),
                                        RunBounds(solver.classes, floor_)});
  return found->second;
}

void MeshBounds::know(Priced& priced, const BoundRun& run, int rounds, const StageWeights& weights,
                      const Solver& solver, Hints& hints_of) {
  priced.bounds.know(
      run.first, run.last, rounds, [&](int layer, int kind, RunBounds::Known& known) {
        LayerHints& hints = hints_of[kind];
        hints.ways.resize(solver.ways);
        if (known.ways.empty()) {
          // Less than at lower prices no way takes.
          known.ways.assign(solver.ways, 0.0);
          known.solved.assign(solver.ways, false);
          for (std::size_t way = 1; way < solver.ways; ++way) {
            if (solver.has_way(layer, way)) continue;
            known.ways[way] = std::numeric_limits<double>::infinity();
          }
          for (const LayerHints::Seen& seen : hints.seen) {
            if (seen.state_byte <= weights.state_byte && seen.stash_byte <= weights.stash_byte) {
              known.ways[seen.way] = std::max(known.ways[seen.way], seen.bound);
            }
          }
        }
        for (int round = std::max(0, known.rounds);;) {
          const auto least = std::min_element(known.ways.begin(), known.ways.end());
          const auto way = static_cast<std::size_t>(least - known.ways.begin());
          if (known.solved[way] && ++round > rounds) break;
          *least = std::max(*least, solver.bound(weights, layer, way, hints.ways[way]));
          known.solved[way] = true;
          hints.seen.push_back({weights.state_byte, weights.stash_byte, way, *least});
        }
        known.bound = *std::min_element(known.ways.begin(), known.ways.end());
      });
}

void MeshBounds::count(const Point& point, const BoundRun& run, double now) {
  const Priced& priced = points_.at(point);
  if (proof(priced, run) <= now * kGain) return;
  if (std::find(counted_.begin(), counted_.end(), &priced) == counted_.end()) {
    counted_.push_back(&priced);
  }
}

bool MeshBounds::refine(const BoundRun& run, const Solver& solver) {
  const int stashes = step_of(run.stashes).first;
  const auto tried = tried_.find({run.first, run.last, stashes});
  if (tried == tried_.end() || !tried->second) return false;
  const double now = step(run);
  const Point point{stashes, *std::exchange(tried->second, std::nullopt)};
  Priced& priced = at(point, solver);
  know(priced, run, kMostRoundsOfLayer, weights(priced.price, priced.stashes), solver, hints_);
  count(point, run, now);
  return step(run) > now;
}

bool MeshBounds::price_bytes(const BoundRun& run, double enough, const Solver& solver) {
  const int stashes = step_of(run.stashes).first;
  const auto [tried, is_new] = tried_.try_emplace({run.first, run.last, stashes}, std::nullopt);
  if (!is_new) return false;
  const double now = step(run);
  const double base = step_->of(run.first, run.last);
  std::map<int, double> proofs;  // by step of the price
  const auto try_prices = [&](const std::array<int, 2>& steps) {
    const std::array<Priced*, 2> points{&at({stashes, steps[0]}, solver),
                                        &at({stashes, steps[1]}, solver)};
    std::array<Hints, 2> hints{hints_, hints_};
    side_by_side(points.size(), [&](std::size_t k) {
      const Priced& priced = *points[k];
      know(*points[k], run, 0, weights(priced.price, priced.stashes), solver, hints[k]);
    });
    for (std::size_t k = 0; k < points.size(); ++k) proofs[steps[k]] = proof(*points[k], run);
    for (auto& [kind, found] : hints[0]) {
      const auto before = static_cast<std::ptrdiff_t>(hints_[kind].seen.size());
      auto& seen = hints[1][kind].seen;
      seen.insert(seen.end(), found.seen.begin() + before, found.seen.end());
    }
    hints_ = std::move(hints[1]);
  };
  const auto found = best_.find(stashes);
  std::optional<int> hint = found != best_.end() ? std::optional(found->second) : std::nullopt;
  if (!hint && solver.first_price != nullptr) hint = *solver.first_price;
  const int first =
      hint ? *hint
           : static_cast<int>(std::lround(std::log(kFirstShare * base) / std::log(kPriceStep)));
  int stride = hint ? kNear : kWide;
  std::array<int, 2> next{first, first + stride};
  const auto best_of = [&]() {
    return std::max_element(proofs.begin(), proofs.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; });
  };
  bool finished = false;
  for (int pair = 0; pair < kMostPairs && !finished; ++pair) {
    try_prices(next);
    const auto best = best_of();
    if (best->second >= enough) break;
    if (best->second < share_ * base || best == proofs.begin()) {
      const int lowest = proofs.begin()->first;
      finished = price_of(lowest) * room_ < kLeastShare * base;
      if (best->second < share_ * base) stride = kWide;
      next = {lowest - 2 * stride, lowest - stride};
    } else if (best == std::prev(proofs.end())) {
      next = {best->first + stride, best->first + 2 * stride};
    } else {
      const auto before = std::prev(best);
      const auto after = std::next(best);
      const int below = best->first - before->first;
      const int above = after->first - best->first;
      const double drop = best->second - std::min(before->second, after->second);
      const int steps = std::max(below, above);
      finished = steps <= 1 || (steps <= kNear && drop < kMore * best->second);
      next = {best->first - std::max(1, below / 2), best->first + std::max(1, above / 2)};
    }
  }
  const auto best = best_of();
  if (best->second > share_ * base) {
    best_[stashes] = best->first;
    if (solver.first_price != nullptr) *solver.first_price = best->first;
  }
  const Point point{stashes, best->first};
  if (best->second < enough) {
    tried->second = best->first;
    Priced& priced = at(point, solver);
    know(priced, run, kRounds, weights(priced.price, priced.stashes), solver, hints_);
  } else {
    tried_.erase(tried);
  }
  count(point, run, now);
  return step(run) > now;
}

}  // namespace alpa
