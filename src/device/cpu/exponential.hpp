#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace alpa::cpu {

/// exp(x). In fp32 inline, so that loops of it are vectorised without a call: 2^n * exp(r) with
/// n = round(x / ln 2), |r| <= ln 2 / 2 and the Taylor polynomial of degree 7 for exp(r) (remainder
/// below 6e-9); ln 2 in two parts (Cody and Waite 1980). Within 2 units in the last place for x in
/// [-87, 88], beyond that the value at the end of the range. NaN stays NaN: it is told by its bits,
/// as fast mathematics takes no comparison of numbers for a test.
template <class T>
[[gnu::always_inline]] inline T exponential(T x) {
  return std::exp(x);
}
template <>
[[gnu::always_inline]] inline float exponential(float x) {
  const bool is_nan = (std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFU) > 0x7F800000U;
  const float given = x;
  constexpr float kLowest = -87.0F, kHighest = 88.0F;
  constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F, kInverse = 1.44269504F;
  x = x < kLowest ? kLowest : x;
  x = x > kHighest ? kHighest : x;
  const float n = __builtin_rintf(x * kInverse);
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float sum = 1.0F / 5040.0F;
  sum = sum * r + 1.0F / 720.0F;
  sum = sum * r + 1.0F / 120.0F;
  sum = sum * r + 1.0F / 24.0F;
  sum = sum * r + 1.0F / 6.0F;
  sum = sum * r + 0.5F;
  sum = sum * r + 1.0F;
  sum = sum * r + 1.0F;
  const float power = std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
  return is_nan ? given : sum * power;
}

}  // namespace alpa::cpu
