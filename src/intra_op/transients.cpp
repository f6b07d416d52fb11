#include "transients.hpp"

#include <algorithm>
#include <utility>

namespace alpa::intra_op {
namespace {

/// @param changes what is added at times; what ends at a time goes before something begins
Bytes most_of_changes(std::vector<std::pair<int, std::int64_t>> changes) {
  std::sort(changes.begin(), changes.end());
  std::int64_t live = 0;
  std::int64_t most = 0;
  for (const auto& [time, bytes] : changes) most = std::max(most, live += bytes);
  return {most};
}

}  // namespace

void Transients::add(Life life, int layer, std::int64_t bytes, int times) {
  if (life.begin < life.end) held_.push_back({life, layer, bytes, times});
}

Bytes Transients::most() const {
  std::vector<std::pair<int, std::int64_t>> changes;
  changes.reserve(2 * held_.size());
  for (const Held& h : held_) {
    changes.emplace_back(h.life.begin, h.bytes * h.times);
    changes.emplace_back(h.life.end, -h.bytes * h.times);
  }
  return most_of_changes(std::move(changes));
}

Bytes Transients::most_of(int layer) const {
  std::vector<std::pair<int, std::int64_t>> changes;
  for (const Held& h : held_) {
    if (h.layer != layer) continue;
    changes.emplace_back(h.life.begin, h.bytes);
    changes.emplace_back(h.life.end, -h.bytes);
  }
  return most_of_changes(std::move(changes));
}

Bytes Transients::at(int time, int layer) const {
  Bytes found{0};
  for (const Held& h : held_) {
    if (h.layer == layer && h.life.begin <= time && time < h.life.end) found += {h.bytes};
  }
  return found;
}

}  // namespace alpa::intra_op
