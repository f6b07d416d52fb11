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
    std::array<std::uint64_t, kLanes> bits;
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
  using Words = std::array<std::uint32_t, kLanes>;

  /// One round of Philox on all lanes.
  static void round(Words& c0, Words& c1, Words& c2, Words& c3, std::uint32_t k0,
                    std::uint32_t k1) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c0[i];
      const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * c2[i];
      c0[i] = static_cast<std::uint32_t>(p1 >> 32U) ^ c1[i] ^ k0;
      c1[i] = static_cast<std::uint32_t>(p1);
      c2[i] = static_cast<std::uint32_t>(p0 >> 32U) ^ c3[i] ^ k1;
      c3[i] = static_cast<std::uint32_t>(p0);
    }
  }

  void draw(std::uint64_t first, std::uint64_t stride,
            std::array<std::uint64_t, kLanes>& bits) const {
    Words c0, c1, c2, c3;
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::uint64_t index = first + i * stride;
      c0[i] = static_cast<std::uint32_t>(index);
      c1[i] = static_cast<std::uint32_t>(index >> 32U);
      c2[i] = static_cast<std::uint32_t>(step_);
      c3[i] = static_cast<std::uint32_t>(step_ >> 32U);
    }
    auto k0 = static_cast<std::uint32_t>(key_);
    auto k1 = static_cast<std::uint32_t>(key_ >> 32U);
    for (int r = 0; r < 10; ++r) {
      round(c0, c1, c2, c3, k0, k1);
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    for (std::size_t i = 0; i < kLanes; ++i) {
      bits[i] = ((std::uint64_t{c0[i]} << 32U) | c1[i]) >> 11U;
    }
  }

  std::uint64_t key_, step_, threshold_;
};

}  // namespace alpa::cpu
