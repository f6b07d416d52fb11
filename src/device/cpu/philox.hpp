#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "common/dropout.hpp"

namespace alpa::cpu {

/// Which elements dropout keeps, many at a time: the Philox4x32-10 of base/random.hpp with one
/// element per lane. uniform() >= p is decided exactly, in integers: its 53 bits are at least
/// ceil(p * 2^53).
class DropoutLanes {
 public:
  explicit DropoutLanes(const kernels::DropoutMask& mask)
      : key_(mask.key()),
        step_(mask.step()),
        threshold_(static_cast<std::uint64_t>(std::ceil(mask.probability() * 0x1.0p53))) {}

  /// factors[i] = kept(first + i * stride) ? scale : 0, for i in [0, n)
  template <class T>
  void factors(std::int64_t first, std::int64_t stride, std::int64_t n, T scale, T* factors) const {
    Words bits;
    for (std::int64_t begin = 0; begin < n; begin += kLanes) {
      draw(static_cast<std::uint64_t>(first + begin * stride), static_cast<std::uint64_t>(stride),
           bits);
      const std::int64_t count = n - begin < kLanes ? n - begin : kLanes;
      for (std::int64_t i = 0; i < count; ++i) {
        factors[begin + i] = bits[static_cast<std::size_t>(i)] >= threshold_ ? scale : T(0);
      }
    }
  }

 private:
  static constexpr std::int64_t kLanes = 32;
  using Words = std::array<std::uint64_t, kLanes>;  ///< 32 bits each: what vectors multiply best

  static constexpr std::uint64_t low(std::uint64_t word) { return word & 0xFFFFFFFFU; }

  /// One round of Philox on all lanes.
  static void round(Words& c0, Words& c1, Words& c2, Words& c3, std::uint64_t k0,
                    std::uint64_t k1) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::uint64_t p0 = 0xD2511F53U * c0[i];
      const std::uint64_t p1 = 0xCD9E8D57U * c2[i];
      c0[i] = (p1 >> 32U) ^ c1[i] ^ k0;
      c1[i] = low(p1);
      c2[i] = (p0 >> 32U) ^ c3[i] ^ k1;
      c3[i] = low(p0);
    }
  }

  void draw(std::uint64_t first, std::uint64_t stride, Words& bits) const {
    Words c0, c1, c2, c3;
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::uint64_t index = first + i * stride;
      c0[i] = low(index);
      c1[i] = index >> 32U;
      c2[i] = low(step_);
      c3[i] = step_ >> 32U;
    }
    std::uint64_t k0 = low(key_), k1 = key_ >> 32U;
#pragma GCC unroll 10
    for (int r = 0; r < 10; ++r) {
      round(c0, c1, c2, c3, k0, k1);
      k0 = low(k0 + 0x9E3779B9U);
      k1 = low(k1 + 0xBB67AE85U);
    }
    for (std::size_t i = 0; i < kLanes; ++i) bits[i] = ((c0[i] << 32U) | c1[i]) >> 11U;
  }

  std::uint64_t key_, step_, threshold_;
};

}  // namespace alpa::cpu
