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

/// What has its place, by the time of its use: for spans of equal lengths, some short and some
/// longer, what is in use within them, by offset. So a short life meets few others, however many
/// there are.
class PlacedByTime {
 public:
  explicit PlacedByTime(const std::vector<Lifetime>& lifetimes) {
    std::int64_t in_use = 0, last = 0;
    for (const Lifetime& life : lifetimes) {
      in_use += life.end - life.begin + 1;
      last = std::max<std::int64_t>(last, life.end);
    }
    const auto mean =
        static_cast<std::uint64_t>(in_use) / std::max<std::size_t>(1, lifetimes.size());
    for (int shift = static_cast<int>(std::bit_width(mean)) + 1;; shift += 3) {
      const auto spans = static_cast<std::size_t>(last >> shift) + 1;
      levels_.push_back({shift, std::vector<Span>(spans)});
      if (spans == 1) return;
    }
  }

  /// All that is in use within a span that has the lifetime, by offset.
  [[nodiscard]] const std::vector<Placed>& around(const Lifetime& life) {
    auto level = levels_.begin();
    while (life.begin >> level->shift != life.end >> level->shift) ++level;
    return level->spans[static_cast<std::size_t>(life.begin >> level->shift)].sorted();
  }

  void add(const Placed& placed) {
    for (Level& level : levels_) {
      for (int s = placed.begin >> level.shift; s <= placed.end >> level.shift; ++s) {
        level.spans[static_cast<std::size_t>(s)].all.push_back(placed);
      }
    }
  }

 private:
  struct Span {
    std::vector<Placed> all;
    std::size_t in_order = 0;  ///< of the first ones

    const std::vector<Placed>& sorted() {
      const auto by_offset = [](const Placed& a, const Placed& b) { return a.offset < b.offset; };
      const auto fresh = all.begin() + static_cast<std::ptrdiff_t>(in_order);
      std::sort(fresh, all.end(), by_offset);
      std::inplace_merge(all.begin(), fresh, all.end(), by_offset);
      in_order = all.size();
      return all;
    }
  };

  struct Level {
    int shift = 0;
    std::vector<Span> spans;  ///< [time >> shift]
  };
  std::vector<Level> levels_;  ///< the last of one span
};

}  // namespace

Packing pack(const std::vector<Lifetime>& lifetimes) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return lifetimes[a].size > lifetimes[b].size;
  });
  PlacedByTime placed(lifetimes);
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
