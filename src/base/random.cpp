#include "alpa/base/random.hpp"

#include <cmath>
#include <numbers>

#include "alpa/base/text_hash.hpp"

namespace alpa {

std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_low,
                                    std::uint64_t counter_high) {
  std::array<std::uint32_t, 4> c = {
      static_cast<std::uint32_t>(counter_low), static_cast<std::uint32_t>(counter_low >> 32U),
      static_cast<std::uint32_t>(counter_high), static_cast<std::uint32_t>(counter_high >> 32U)};
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32U);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32U) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32U) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

namespace {
double unit_interval(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (std::uint64_t{high} << 32U) | low;
  return static_cast<double>(bits >> 11U) * 0x1.0p-53;
}
}  // namespace

double uniform(std::uint64_t key, std::uint64_t step, std::uint64_t index) {
  const auto r = philox(key, index, step);
  return unit_interval(r[0], r[1]);
}

double normal(std::uint64_t key, std::uint64_t step, std::uint64_t index) {
  const auto r = philox(key, index, step);
  const double u = 1.0 - unit_interval(r[0], r[1]);  // in (0, 1]
  const double v = unit_interval(r[2], r[3]);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::uint64_t hash_of(std::string_view text) {
  TextHash hash;
  hash.add(text);
  return hash.value();
}

std::uint64_t stream_key(std::uint64_t seed, std::string_view name) {
  const auto r = philox(hash_of(name), seed, 0x616c7061);
  return (std::uint64_t{r[0]} << 32U) | r[1];
}

}  // namespace alpa
