#include "alpa/data/permutation.hpp"

#include <bit>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"

namespace alpa {

std::int64_t permuted(std::int64_t index, std::int64_t size, std::uint64_t key) {
  ALPA_CHECK(index >= 0 && index < size);
  constexpr std::uint64_t kRounds = 6;
  const auto n = static_cast<std::uint64_t>(size);
  const auto half = static_cast<unsigned>(std::bit_width(n - 1) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  auto value = static_cast<std::uint64_t>(index);
  do {  // at most four times on average: the network's domain is less than 4 n
    std::uint64_t left = value >> half;
    std::uint64_t right = value & mask;
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      const std::uint64_t mixed = left ^ (philox(key, right, round)[0] & mask);
      left = right;
      right = mixed;
    }
    value = (left << half) | right;
  } while (value >= n);
  return static_cast<std::int64_t>(value);
}

}  // namespace alpa
