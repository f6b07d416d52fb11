#pragma once

#include <vector>

#include "alpa/base/units.hpp"

namespace alpa {

/// Memory of `size` bytes that is in use at the times begin, begin+1, ..., end.
struct Lifetime {
  int begin = 0;
  int end = 0;
  Bytes size;
};

/// Offsets such that lifetimes that meet do not share bytes; `total` is the arena they need.
struct Packing {
  std::vector<Bytes> offsets;  ///< multiples of kAlignment, one per lifetime
  Bytes total;
};

inline constexpr std::int64_t kAlignment = 64;

[[nodiscard]] Bytes align_up(Bytes size);

/// Largest first, each at the lowest gap that is free over its lifetime.  @pre times from 0 on
[[nodiscard]] Packing pack(const std::vector<Lifetime>& lifetimes);

/// Most bytes in use at one time: no packing needs less.
[[nodiscard]] Bytes live_maximum(const std::vector<Lifetime>& lifetimes);

}  // namespace alpa
