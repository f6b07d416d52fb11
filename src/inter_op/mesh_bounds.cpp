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
constexpr double kStashSteps = 1.0;  ///< to a doubling of the stashes that are priced
constexpr double kRounding = 1e-9;   ///< of logarithms

}  // namespace

RunBounds::RunBounds(const std::vector<int>& classes, const std::vector<double>& floor)
    : sums_(floor), forbidden_(floor.size(), 0) {
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

void RunBounds::know(int first, int last, int rounds, double enough,
                     const std::function<void(int layer, int kind, Known& known)>& ask) {
  std::map<int, std::pair<int, int>> of_kind;  // how many, the first of them
  for (int l = first; l <= last; ++l) {
    ++of_kind.try_emplace(kind_of_[static_cast<std::size_t>(l)], 0, l).first->second.first;
  }
  std::vector<std::pair<int, int>> order;  // how many, kind
  for (const auto& [kind, layers] : of_kind) order.emplace_back(-layers.first, kind);
  std::sort(order.begin(), order.end());
  for (const auto& [count, kind] : order) {
    Known& known = known_[static_cast<std::size_t>(kind)];
    if (known.rounds >= rounds) continue;
    if (of(first, last) >= enough) return;
    ask(of_kind.at(kind).second, kind, known);
    known.rounds = rounds;
    for (std::size_t l = 0; l < kind_of_.size(); ++l) {
      const double bound = std::max(floor_[l], known_[static_cast<std::size_t>(kind_of_[l])].bound);
      const bool has_choice = std::isfinite(bound);
      sums_[l + 1] = sums_[l] + (has_choice ? bound : 0.0);
      forbidden_[l + 1] = forbidden_[l] + (has_choice ? 0 : 1);
    }
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
  double most = share_ * (free_.empty() ? sum(floor()) : free_.front().of(run.first, run.last));
  if (fitting_) {
    most =
        std::max(most, share_ * fitting_->of(run.first, run.last, run.stashes, room_ * devices_));
  }
  const Priced* best = nullptr;  // of no more stashes
  double of_best = 0.0;
  for (const Priced* priced : counted_) {
    if (priced->stashes > run.stashes) continue;
    const double proved = proof(*priced, run);
    if (best == nullptr || proved > of_best) {
      best = priced;
      of_best = proved;
    }
  }
  if (best == nullptr) return most;
  most = std::max(most, of_best);
  // Together with one of more stashes, in shares that count as many as there are in the mean.
  for (const Priced* more : counted_) {
    if (more->stashes <= run.stashes) continue;
    const double share = best->price * (run.stashes - best->stashes);
    const double of_more = more->price * (more->stashes - run.stashes);
    most = std::max(most, (of_more * of_best + share * proof(*more, run)) / (of_more + share));
  }
  return most;
}

bool MeshBounds::know_way(std::size_t way, const BoundRun& run, double enough,
                          const Solver& solver) {
  bool asked = false;
  free_[way].know(run.first, run.last, 0, enough,
                  [&](int layer, int kind, RunBounds::Known& known) {
                    if (way > 0 && !solver.has_way(layer, way)) return;
                    LayerHints& hints = hints_[kind];
                    hints.ways.resize(std::max(hints.ways.size(), way + 1));
                    known.bound = solver.bound(weights(), layer, way, hints.ways[way]);
                    hints.seen.push_back({0.0, 0.0, way, known.bound});
                    asked = true;
                  });
  return asked;
}

void MeshBounds::look(int first, int last, double enough, const Solver& solver) {
  ++looks_;
  if (free_.empty()) {
    for (const std::vector<double>& of_way : floors_->seconds) {
      free_.emplace_back(solver.classes, of_way);
    }
  }
  know_way(0, {first, last}, enough / share_, solver);
  if (share_ * free_.front().of(first, last) < enough) return;
  // Such a mesh is seldom looked at again, and problems are large.
  for (auto& [kind, hints] : hints_) {
    for (BoundHints& of_way : hints.ways) of_way.problem.reset();
  }
}

bool MeshBounds::look_at_ways(const BoundRun& run, double enough, const Solver& solver) {
  ++looks_;
  const double all = room_ * devices_;
  const auto update = [&]() {
    std::vector<std::vector<double>> seconds;
    for (std::size_t way = 0; way < free_.size(); ++way) {
      seconds.push_back({0.0});
      for (int l = 0; l + 1 < static_cast<int>(floor().size()); ++l) {
        const auto of_layer = [l](const std::vector<double>& sums) {
          return sums[static_cast<std::size_t>(l) + 1] - sums[static_cast<std::size_t>(l)];
        };
        // What is computed again takes its kernels' time on top.
        const double on_top = of_layer(floors_->seconds[way]) - of_layer(floor());
        const double least = std::max(free_[way].of(l, l), free_.front().of(l, l) + on_top);
        // Runs with a layer that has no choice are told without it.
        seconds.back().push_back(seconds.back().back() + (std::isfinite(least) ? least : 0.0));
      }
    }
    fitting_.emplace(seconds, *floors_->bytes);
  };
  if (!fitting_) update();
  bool asked = false;
  for (std::size_t way = free_.size() - 1; way > 0; --way) {
    const double now = share_ * fitting_->of(run.first, run.last, run.stashes, all);
    if (now >= enough || now <= share_ * free_.front().of(run.first, run.last) * kGain) break;
    if (!know_way(way, run, std::numeric_limits<double>::infinity(), solver)) continue;
    asked = true;
    update();
  }
  return asked;
}

void MeshBounds::look_at_each(int first, int last, const Solver& solver) {
  ++looks_;
  StageWeights weights;
  weights.prepare = weights.reduce = weights.update = 0.0;
  if (!each_) each_.emplace(solver.classes, std::vector<double>(floor().size(), 0.0));
  each_->know(first, last, 0, std::numeric_limits<double>::infinity(),
              [&](int layer, int kind, RunBounds::Known& known) {
                BoundHints hints =
                    hints_[kind].ways.empty() ? BoundHints{} : hints_[kind].ways.front();
                for (int round = 0; round <= kRounds; ++round) {
                  known.bound = std::max(known.bound, solver.bound(weights, layer, 0, hints));
                }
              });
}

double MeshBounds::stashes_of(int step) {
  return std::exp2(step / kStashSteps) * (1.0 - kRounding);
}

double MeshBounds::price_of(int step) const { return std::pow(kPriceStep, step) / room_; }

MeshBounds::Priced& MeshBounds::at(const Point& point, const Solver& solver) {
  const auto [found, is_new] = points_.try_emplace(
      point,
      Priced{price_of(point.second), stashes_of(point.first), RunBounds(solver.classes, floor())});
  return found->second;
}

void MeshBounds::know(Priced& priced, const BoundRun& run, int rounds, double enough,
                      const Solver& solver, Hints& hints_of) const {
  const StageWeights weights = this->weights(priced.price, priced.stashes);
  const double base = enough / share_ + priced.price * room_of(run);
  priced.bounds.know(
      run.first, run.last, rounds, base, [&](int layer, int kind, RunBounds::Known& known) {
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

void MeshBounds::count(const Point& point, const BoundRun& run) {
  const Priced& priced = points_.at(point);
  double most = share_ * free_.front().of(run.first, run.last);
  for (const Priced* counted : counted_) {
    if (counted == &priced) return;
    if (counted->stashes == priced.stashes) most = std::max(most, proof(*counted, run));
  }
  if (proof(priced, run) > most * kGain) counted_.push_back(&priced);
}

std::array<int, 2> MeshBounds::steps_of(double stashes) {
  const double exact = kStashSteps * std::log2(stashes);
  return {static_cast<int>(std::floor(exact + kRounding)),
          static_cast<int>(std::ceil(exact - kRounding))};
}

bool MeshBounds::refine(const BoundRun& run, double enough, const Solver& solver) {
  ++looks_;
  const double now = step(run);
  for (const int stashes : steps_of(run.stashes)) {
    const auto tried = tried_.find({run.first, run.last, stashes});
    if (tried == tried_.end() || !tried->second) continue;
    const Point point{stashes, *tried->second};
    Priced& priced = at(point, solver);
    know(priced, run, kMostRoundsOfLayer, enough, solver, hints_);
    if (proof(priced, run) < enough) tried->second.reset();  // else there may be more to learn
    count(point, run);
    if (step(run) > now) return true;
  }
  return false;
}

bool MeshBounds::price_bytes(const BoundRun& run, double enough, const Solver& solver) {
  ++looks_;
  const double now = step(run);
  const auto [below, above] = steps_of(run.stashes);
  price_bytes(below, run, enough, solver);
  if (step(run) > now || above == below) return step(run) > now;
  // In the mean with what that proves.
  const double farther = stashes_of(above) - run.stashes;
  const double nearer = run.stashes - stashes_of(below);
  price_bytes(above, run, enough + (enough - now) * farther / nearer, solver);
  return step(run) > now;
}

void MeshBounds::price_bytes(int stashes, const BoundRun& run, double enough,
                             const Solver& solver) {
  const auto [tried, is_new] = tried_.try_emplace({run.first, run.last, stashes}, std::nullopt);
  if (!is_new) return;
  const double base = free_.front().of(run.first, run.last);
  std::map<int, double> proofs;  // by step of the price
  const auto try_prices = [&](const std::array<int, 2>& steps) {
    const std::array<Priced*, 2> points{&at({stashes, steps[0]}, solver),
                                        &at({stashes, steps[1]}, solver)};
    std::array<Hints, 2> hints{hints_, hints_};
    side_by_side(points.size(),
                 [&](std::size_t k) { know(*points[k], run, 0, enough, solver, hints[k]); });
    for (std::size_t k = 0; k < points.size(); ++k) proofs[steps[k]] = proof(*points[k], run);
    for (auto& [kind, found] : hints[0]) {
      const auto before = static_cast<std::ptrdiff_t>(hints_[kind].seen.size());
      auto& seen = hints[1][kind].seen;
      seen.insert(seen.end(), found.seen.begin() + before, found.seen.end());
    }
    hints_ = std::move(hints[1]);
  };
  std::optional<int> hint;
  for (const int near : {stashes, stashes - 1, stashes + 1}) {
    const auto found = best_.find(near);
    if (!hint && found != best_.end()) hint = found->second;
  }
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
    know(priced, run, kRounds, enough, solver, hints_);
  } else {
    tried_.erase(tried);
  }
  count(point, run);
}

}  // namespace alpa
