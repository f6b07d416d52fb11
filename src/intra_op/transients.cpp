#include "transients.hpp"

#include <algorithm>
#include <map>

namespace alpa::intra_op {
namespace {

Bytes most_of_changes(const std::map<int, std::int64_t>& change) {
  std::int64_t live = 0;
  std::int64_t most = 0;
  for (const auto& [time, bytes] : change) most = std::max(most, live += bytes);
  return {most};
}

}  // namespace

void Transients::add(Life life, int layer, std::int64_t bytes, int times) {
  if (life.begin < life.end) held_.push_back({life, layer, bytes, times});
}

Bytes Transients::most() const {
  std::map<int, std::int64_t> change;
  for (const Held& h : held_) {
    change[h.life.begin] += h.bytes * h.times;
    change[h.life.end] -= h.bytes * h.times;
  }
  return most_of_changes(change);
}

Bytes Transients::most_of(int layer) const {
  std::map<int, std::int64_t> change;
  for (const Held& h : held_) {
    if (h.layer != layer) continue;
    change[h.life.begin] += h.bytes;
    change[h.life.end] -= h.bytes;
  }
  return most_of_changes(change);
}

Bytes Transients::at(int time, int layer) const {
  Bytes found{0};
  for (const Held& h : held_) {
    if (h.layer == layer && h.life.begin <= time && time < h.life.end) found += {h.bytes};
  }
  return found;
}

}  // namespace alpa::intra_op
