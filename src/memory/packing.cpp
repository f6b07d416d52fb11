#include "alpa/memory/packing.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace alpa {

Bytes align_up(Bytes size) { return {(size.value + kAlignment - 1) / kAlignment * kAlignment}; }

Packing pack(const std::vector<Lifetime>& lifetimes) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return lifetimes[a].size > lifetimes[b].size;
  });
  Packing packing{std::vector<Bytes>(lifetimes.size()), {}};
  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t i : order) {
    const Lifetime& wanted = lifetimes[i];
    const Bytes size = align_up(wanted.size);
    Bytes offset{0};
    for (const std::size_t p : placed) {
      const Lifetime& other = lifetimes[p];
      if (other.end < wanted.begin || wanted.end < other.begin) continue;
      if (packing.offsets[p] >= offset + size) break;
      offset = std::max(offset, packing.offsets[p] + align_up(other.size));
    }
    packing.offsets[i] = offset;
    packing.total = std::max(packing.total, offset + size);
    const auto place =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [&](Bytes value, std::size_t p) { return value < packing.offsets[p]; });
    placed.insert(place, i);
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
