#pragma once

#include <optional>
#include <vector>

#include "alpa/base/units.hpp"

namespace alpa {

/// An operator as clustering sees it. Operators stand in a line, in topological order.
struct LineOperator {
  Flops flops{};              ///< counted where `heavy`
  bool heavy = false;         ///< a product or a convolution: what layers are balanced by
  Bytes output{};             ///< what it produces
  std::vector<int> inputs{};  ///< the operators it reads, all before it
};

/// A layer: operators begin .. end-1.
struct LayerBlock {
  int begin = 0;
  int end = 0;
  friend bool operator==(const LayerBlock&, const LayerBlock&) = default;
};

struct Clustering {
  std::vector<LayerBlock> layers{};  ///< consecutive, none empty
  Bytes largest_cut{};
  Bytes total_cut{};
};

/// Cuts the operators into exactly `layers` blocks. The cut of a block is what it reads from before
/// it, each tensor once; the largest cut is made least, then the total of the cuts, then the
/// earliest borders are taken. Nothing if no clustering is balanced.
///
/// A block is balanced if it meets `bound` = (1 + slack) * (FLOPs of all) / layers, with low = 3
/// heavy operators, or (heavy operators of all) / layers rounded down where that is fewer:
///   * with fewer than `low` heavy operators it must reach the bound by itself;
///   * with more than `low` it must stay below the bound up to its last heavy operator; with slack
///   0
///     it may equal the bound, so that equal layers are found.
/// O(operators * operators of the largest balanced block * (layers + inputs)).
/// @pre layers >= 1, slack >= 0, no negative FLOPs or output, inputs name earlier operators
[[nodiscard]] std::optional<Clustering> cluster_layers(const std::vector<LineOperator>& operators,
                                                       int layers, double slack);

}  // namespace alpa
