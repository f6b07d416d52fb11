#include "mesh_bounds.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>

#include "side_by_side.hpp"

namespace alpa {
namespace {

constexpr int kRounds = 6;  ///< of making the bound of a layer closer
constexpr int kMostRoundsOfLayer = 24;
constexpr double kGain = 1.0005;     ///< by which prices of bytes must raise a bound
constexpr int kMostRounds = 5;       ///< of two prices each
constexpr double kFirstShare = 0.1;  ///< of a stage's time over its memory: first price tried
constexpr double kWide = 9.0;        ///< between the first prices
constexpr double kStashSteps = 4.0;  ///< to a doubling of the stashes that are told apart
constexpr double kRounding = 1e-9;   ///< of logarithms
constexpr double kNarrow = 1.2;      ///< between the last ones

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
                     [&](int kind) { return known_[static_cast<std::size_t>(kind)].has_value(); });
}

void RunBounds::know(int first, int last, const std::function<double(int layer)>& bound) {
  for (int l = first; l <= last; ++l) {
    auto& known = known_[static_cast<std::size_t>(kind_of_[static_cast<std::size_t>(l)])];
    if (!known) known = bound(l);
  }
  for (std::size_t l = 0; l < kind_of_.size(); ++l) {
    const auto& known = known_[static_cast<std::size_t>(kind_of_[l])];
    sums_[l + 1] = sums_[l] + std::max(floor_[l], known.value_or(0.0));
  }
}

StageWeights MeshBounds::weights() const {
  StageWeights weights;
  weights.forward = weights.backward = microbatches_;
  return weights;
}

double MeshBounds::step(const BoundRun& run) const {
  const auto sum = [&](const std::vector<double>& sums) {
    return sums[static_cast<std::size_t>(run.last) + 1] - sums[static_cast<std::size_t>(run.first)];
  };
  double most = share_ * (step_ ? step_->of(run.first, run.last) : sum(floor_));
  for (const Priced& priced : priced_) {
    if (priced.stashes <= run.stashes) most = std::max(most, proof(priced, run));
  }
  return most;
}

void MeshBounds::look(int first, int last, const Solver& solver) {
  if (!step_) step_.emplace(solver.classes, floor_);
  step_->know(first, last, [&](int layer) { return solver.bound(weights(), layer, 1); });
}

void MeshBounds::look_at_each(int first, int last, const Solver& solver) {
  StageWeights weights;
  weights.prepare = weights.reduce = weights.update = 0.0;
  if (!each_) each_.emplace(solver.classes, std::vector<double>(floor_.size(), 0.0));
  each_->know(first, last, [&](int layer) { return solver.bound(weights, layer, kRounds); });
}

std::pair<int, double> MeshBounds::step_of(double stashes) {
  const int step = static_cast<int>(std::floor(kStashSteps * std::log2(stashes) + kRounding));
  return {step, std::exp2(step / kStashSteps) * (1.0 - kRounding)};
}

MeshBounds::Priced MeshBounds::priced_at(const BoundRun& run, double price, const Solver& solver,
                                         int rounds) const {
  const double stashes = step_of(run.stashes).second;
  StageWeights priced = weights();
  priced.state_byte = price;
  priced.stash_byte = price * stashes;
  RunBounds found(solver.classes, floor_);
  found.know(run.first, run.last, [&](int layer) { return solver.bound(priced, layer, rounds); });
  return Priced{price, stashes, std::move(found)};
}

void MeshBounds::keep(Priced priced, const BoundRun& run, double now) {
  if (proof(priced, run) > now * kGain) priced_.push_back(std::move(priced));
}

bool MeshBounds::refine(const BoundRun& run, const Solver& solver) {
  const auto tried = tried_.find({run.first, run.last, step_of(run.stashes).first});
  if (tried == tried_.end() || tried->second < 0.0) return false;
  const double now = step(run);
  const double price = std::exchange(tried->second, -1.0);
  keep(priced_at(run, price, solver, kMostRoundsOfLayer), run, now);
  return step(run) > now;
}

bool MeshBounds::price_bytes(const BoundRun& run, double enough, const Solver& solver) {
  const auto [tried, is_new] =
      tried_.try_emplace({run.first, run.last, step_of(run.stashes).first}, -1.0);
  if (!is_new) return false;
  const double now = step(run);
  const double base = step_->of(run.first, run.last);
  const double unit = base / room_;
  std::map<double, double> proofs{{0.0, share_ * base}};  // by price
  const auto try_prices = [&](const std::array<double, 2>& prices) {
    std::array<std::optional<Priced>, 2> found;
    side_by_side(prices.size(),
                 [&](std::size_t k) { found[k] = priced_at(run, prices[k], solver, 1); });
    for (auto& priced : found) {
      proofs[priced->price] = proof(*priced, run);
      keep(std::move(*priced), run, now);
    }
  };
  double factor = kWide;
  std::array<double, 2> next{kFirstShare * unit, kFirstShare * kWide * unit};
  for (int round = 0; round < kMostRounds; ++round) {
    try_prices(next);
    const auto best =
        std::max_element(proofs.begin(), proofs.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    if (best->second >= enough) break;
    if (best == std::prev(proofs.end())) {
      next = {best->first * factor, best->first * factor * factor};
    } else if (best == proofs.begin()) {
      const double least = std::next(best)->first;
      next = {least / (factor * factor), least / factor};
    } else {
      factor = std::sqrt(factor);
      if (factor < kNarrow) break;
      next = {best->first / factor, best->first * factor};
    }
  }
  const auto best =
      std::max_element(proofs.begin(), proofs.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (best->second < enough) {
    tried->second = best->first;
    keep(priced_at(run, best->first, solver, kRounds), run, now);
  }
  return step(run) > now;
}

}  // namespace alpa
