#pragma once

#include <cstdint>

namespace alpa {

/// What backward computes again of a layer instead of reading what forward has kept.
enum class Recompute : std::uint8_t {
  none,
  attention,  ///< attention itself, from queries, keys and values, which are kept
  full,       ///< everything that backward reads: kept is only what crosses the layer's border
};

}  // namespace alpa
