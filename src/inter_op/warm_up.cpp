#include "warm_up.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/schedule/schedule.hpp"

namespace alpa {
namespace {

constexpr double kPays = 1e-4;      ///< relative: what is not worth more stash
constexpr int kHalvings = 30;       ///< of the interval in which the period is looked for
constexpr double kRounding = 1e-9;  ///< relative: a path that is a whole number of periods

}  // namespace

SteadyState::SteadyState(const std::vector<StageTimes>& stages,
                         const std::vector<StageTransfer>& transfers)
    : stages_(stages.size()), paths_(stages.size() * stages.size(), 0.0) {
  std::map<std::pair<int, int>, double> pairs;  // each pair's go one after the other
  for (const StageTransfer& t : transfers) {
    if (t.backward == (t.from > t.to)) pairs[{t.from, t.to}] += t.time.value;
  }
  std::vector<std::vector<std::pair<std::size_t, double>>> down(stages_), up(stages_);
  for (const auto& [ends, time] : pairs) {
    const auto from = static_cast<std::size_t>(ends.first);
    const auto to = static_cast<std::size_t>(ends.second);
    // By the later stage: where its forwards come from, where its backwards go.
    if (from < to) down[to].emplace_back(from, time);
    if (from > to) up[from].emplace_back(to, time);
    least_ = std::max(least_, time);
  }
  for (const StageTimes& t : stages) least_ = std::max(least_, (t.forward + t.backward).value);
  std::vector<double> there(stages_), back(stages_);  // between s and k, both ends' work included
  for (std::size_t s = 0; s < stages_; ++s) {
    there[s] = stages[s].forward.value;
    back[s] = stages[s].backward.value;
    for (std::size_t k = s + 1; k < stages_; ++k) {
      const auto longest = [&](const std::vector<double>& so_far, const auto& edges) {
        double most = so_far[k - 1];
        for (const auto& [other, time] : edges) {
          if (other >= s) most = std::max(most, so_far[other] + time);
        }
        return most;
      };
      there[k] = longest(there, down[k]) + stages[k].forward.value;
      back[k] = longest(back, up[k]) + stages[k].backward.value;
      paths_[s * stages_ + k] = there[k] + back[k];
    }
  }
}

double SteadyState::period(const std::vector<int>& warm_up) const {
  ALPA_CHECK(warm_up.size() == stages_);
  double most = least_;
  for (std::size_t s = 0; s < stages_; ++s) {
    for (std::size_t k = s + 1; k < stages_; ++k) {
      most = std::max(most, path(s, k) / (warm_up[s] - warm_up[k] + 1));
    }
  }
  return most;
}

std::optional<std::vector<int>> SteadyState::within(double period,
                                                    const std::vector<int>& most) const {
  std::vector<int> depth(stages_, 1);
  for (std::size_t s = stages_; s-- > 0;) {
    depth[s] = static_cast<int>(stages_ - s);
    for (std::size_t k = s + 1; k < stages_; ++k) {
      const double count = std::ceil(path(s, k) / period * (1.0 - kRounding));
      if (count > 2.0 * static_cast<double>(stages_)) return std::nullopt;  // beyond any depth
      depth[s] = std::max(depth[s], depth[k] - 1 + static_cast<int>(count));
    }
    if (depth[s] > most[s]) return std::nullopt;
  }
  return depth;
}

std::vector<int> SteadyState::least_depths(const std::vector<int>& most) const {
  std::vector<int> best = least_warm_up(static_cast<int>(stages_));
  if (const auto depth = within(least_, most)) return *depth;
  double low = least_;
  double high = period(best);
  for (int i = 0; i < kHalvings && low < high * (1.0 - kRounding); ++i) {
    const double middle = 0.5 * (low + high);
    if (auto depth = within(middle, most)) {
      best = std::move(*depth);
      high = period(best);
    } else {
      low = middle;
    }
  }
  return best;
}

bool deeper_pays(const SteadyState& steady, const std::vector<int>& warm_up) {
  return steady.period(warm_up) > steady.least_period() * (1.0 + kPays);
}

bool shallower(std::vector<int>& most, std::size_t s, int depth) {
  if (depth < static_cast<int>(most.size() - s)) return false;
  for (std::size_t k = s; k < most.size(); ++k) most[k] = std::min(most[k], depth);
  return true;
}

std::vector<int> useful_warm_up(int stages, int microbatches) {
  std::vector<int> depth = most_warm_up(stages);
  const std::vector<int> least = least_warm_up(stages);
  for (std::size_t s = 0; s < depth.size(); ++s) {
    depth[s] = std::max(least[s], std::min(depth[s], microbatches));
  }
  return depth;
}

std::optional<std::vector<std::vector<int>>> all_warm_ups(int stages, int microbatches,
                                                          std::size_t limit) {
  const std::vector<int> least = least_warm_up(stages);
  const std::vector<int> most = useful_warm_up(stages, microbatches);
  std::vector<std::vector<int>> all{least};
  if (most != least) all.push_back(most);
  std::vector<int> depth;
  const std::function<bool(std::size_t)> extend = [&](std::size_t s) {
    if (s == least.size()) {
      if (depth != least && depth != most) all.push_back(depth);
      return all.size() <= limit;
    }
    const int cap = s == 0 ? most[s] : std::min(most[s], depth[s - 1]);
    for (int d = least[s]; d <= cap; ++d) {
      depth.push_back(d);
      const bool go_on = extend(s + 1);
      depth.pop_back();
      if (!go_on) return false;
    }
    return true;
  };
  if (!extend(0)) return std::nullopt;
  return all;
}

}  // namespace alpa
