#include "class_path.hpp"

#include <algorithm>
#include <cstddef>
#include <map>

namespace alpa {
namespace {

constexpr std::size_t kMostSteps = 4;
constexpr double kLeastPart = 0.1;  ///< of what all layers save, for a step of its own

struct ClassGain {
  int of = 0;
  double seconds = 0.0, bytes = 0.0;  ///< that going over takes, and saves
};

std::vector<ClassGain> gains_of(const LineAnswer& large, const LineAnswer& small,
                                const std::vector<int>& classes, int microbatches, int stashes) {
  StageWeights times;
  times.forward = times.backward = microbatches;
  std::map<int, ClassGain> gains;
  for (std::size_t l = 0; l < classes.size(); ++l) {
    const int layer = static_cast<int>(l);
    const StageFigures before = large.table.of(layer, layer);
    const StageFigures after = small.table.of(layer, layer);
    ClassGain& gain = gains.try_emplace(classes[l], ClassGain{.of = classes[l]}).first->second;
    gain.seconds += weighted(after, times) - weighted(before, times);
    gain.bytes += static_cast<double>(
        (before.state + before.stash * stashes - after.state - after.stash * stashes).value);
  }
  std::vector<ClassGain> order;
  for (const auto& [of, gain] : gains) order.push_back(gain);
  std::stable_sort(order.begin(), order.end(), [](const ClassGain& a, const ClassGain& b) {
    return a.seconds * std::max(b.bytes, 1.0) < b.seconds * std::max(a.bytes, 1.0);
  });
  return order;
}

/// Layers of these classes follow the second answer.
LineAnswer mixed(const LineAnswer& large, const LineAnswer& small, const std::vector<int>& classes,
                 const std::vector<int>& over) {
  std::vector<StageFigures> by_layer;
  std::vector<ChosenLayers> parts;
  std::vector<Recompute> recompute;
  for (std::size_t l = 0; l < classes.size(); ++l) {
    const bool follows = std::find(over.begin(), over.end(), classes[l]) != over.end();
    const LineAnswer& of = follows ? small : large;
    const int layer = static_cast<int>(l);
    by_layer.push_back(of.table.of(layer, layer));
    recompute.push_back(of.recompute[l]);
    const auto part = std::find_if(
        of.parts.begin(), of.parts.end(),
        [&](const ChosenLayers& chosen) { return chosen.first <= layer && layer <= chosen.last; });
    const bool goes_on =
        !parts.empty() && parts.back().as == part->as && parts.back().recompute == part->recompute;
    if (goes_on) {
      parts.back().last = layer;
    } else {
      parts.push_back({layer, layer, part->as, part->recompute});
    }
  }
  return {LayerTable(by_layer), std::move(parts), std::move(recompute)};
}

}  // namespace

std::vector<LineAnswer> class_path(const LineAnswer& large, const LineAnswer& small,
                                   const std::vector<int>& classes, int microbatches, int stashes) {
  const std::vector<ClassGain> order = gains_of(large, small, classes, microbatches, stashes);
  double all = 0.0;
  for (const ClassGain& gain : order) all += gain.bytes;
  std::vector<LineAnswer> path;
  std::vector<int> over;
  double saved = 0.0, of_last = 0.0;
  for (const ClassGain& gain : order) {
    saved += gain.bytes;
    over.push_back(gain.of);
    const bool enough = saved >= of_last + kLeastPart * all && saved <= (1.0 - kLeastPart) * all;
    if (!enough || path.size() == kMostSteps) continue;
    of_last = saved;
    path.push_back(mixed(large, small, classes, over));
  }
  return path;
}

}  // namespace alpa
