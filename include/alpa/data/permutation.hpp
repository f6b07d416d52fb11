#pragma once

#include <cstdint>

namespace alpa {

/// Where `index` goes in a permutation of [0, size) chosen by `key`: a Feistel network over the
/// next power of four, walked until it lands inside. Needs no memory and no history, so any
/// position of any epoch is found at once.  @pre 0 <= index < size
[[nodiscard]] std::int64_t permuted(std::int64_t index, std::int64_t size, std::uint64_t key);

}  // namespace alpa
