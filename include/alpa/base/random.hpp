#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace alpa {

/// Philox4x32-10 (Salmon et al., SC'11): 128 random bits for a counter under a key. Stateless, so a
/// value depends on what it belongs to and never on which rank computes it or in which order.
[[nodiscard]] std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_low,
                                                  std::uint64_t counter_high);

/// A uniform number in [0, 1) with 53 random bits for element `index` of stream (`key`, `step`).
[[nodiscard]] double uniform(std::uint64_t key, std::uint64_t step, std::uint64_t index);

/// A standard normal number (Box-Muller on one Philox block) for element `index`.
[[nodiscard]] double normal(std::uint64_t key, std::uint64_t step, std::uint64_t index);

/// FNV-1a, for names: equal on every machine.
[[nodiscard]] std::uint64_t hash_of(std::string_view text);

/// Key of the random stream that belongs to `name` under `seed`.
[[nodiscard]] std::uint64_t stream_key(std::uint64_t seed, std::string_view name);

}  // namespace alpa
