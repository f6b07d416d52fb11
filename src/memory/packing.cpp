#include "alpa/memory/packing.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>

namespace alpa {

Bytes align_up(Bytes size) { return {(size.value + kAlignment - 1) / kAlignment * kAlignment}; }

namespace {

/// Memory that has its place.
struct Placed {
  int begin = 0, end = 0;  ///< times
  Bytes offset, behind;    ///< the first byte behind it
};

/// What has its place, by the time of its use: for spans of 2^k times, what is in use within them,
/// by offset. So a short life meets few others, however many there are.
class PlacedByTime {
 public:
  explicit PlacedByTime(int last) {
    const auto most = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(last)));
    for (std::size_t k = kShortest; k <= std::max(most, kShortest); ++k) {
      spans_.emplace_back((static_cast<std::size_t>(last) >> k) + 1);
    }
  }

  /// All that is in use within the shortest span that has a lifetime.
  [[nodiscard]] const std::vector<Placed>& around(const Lifetime& life) const {
    const auto begin = static_cast<unsigned>(life.begin), end = static_cast<unsigned>(life.end);
    const std::size_t k = std::max<std::size_t>(kShortest, std::bit_width(begin ^ end));
    return spans_[k - kShortest][begin >> k];
  }

  void add(const Placed& placed) {
    for (std::size_t level = 0; level < spans_.size(); ++level) {
      const std::size_t k = kShortest + level;
      const std::size_t last = static_cast<std::size_t>(placed.end) >> k;
      for (std::size_t s = static_cast<std::size_t>(placed.begin) >> k; s <= last; ++s) {
        std::vector<Placed>& span = spans_[level][s];
        const auto place = std::upper_bound(
            span.begin(), span.end(), placed.offset,
            [](Bytes offset, const Placed& other) { return offset < other.offset; });
        span.insert(place, placed);
      }
    }
  }

 private:
  static constexpr std::size_t kShortest = 4;
  std::vector<std::vector<std::vector<Placed>>> spans_;  ///< [k - kShortest][time >> k]
};

}  // namespace

Packing pack(const std::vector<Lifetime>& lifetimes) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return lifetimes[a].size > lifetimes[b].size;
  });
  int last = 0;
  for (const Lifetime& life : lifetimes) last = std::max(last, life.end);
  PlacedByTime placed(last);
  Packing packing{std::vector<Bytes>(lifetimes.size()), {}};
  for (const std::size_t i : order) {
    const Lifetime& wanted = lifetimes[i];
    const Bytes size = align_up(wanted.size);
    Bytes offset{0};
    for (const Placed& other : placed.around(wanted)) {
      if (other.end < wanted.begin || wanted.end < other.begin) continue;
      if (other.offset >= offset + size) break;
      offset = std::max(offset, other.behind);
    }
    packing.offsets[i] = offset;
    packing.total = std::max(packing.total, offset + size);
    placed.add({wanted.begin, wanted.end, offset, offset + size});
  }
  return packing;
}

Bytes live_maximum(const std::vector<Lifetime>& lifetimes) {
  std::map<int, std::int64_t> change;
  for (const Lifetime& l : lifetimes) {
    change[l.begin] += l.size.value;
    change[l.end + 1] -= l.size.value;
  }
  std::int64_t live = 0;
  std::int64_t most = 0;
  for (const auto& [time, delta] : change) most = std::max(most, live += delta);
  return {most};
}

}  // namespace alpa
