#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "alpa/base/shape.hpp"
#include "alpa/cluster/mesh.hpp"
#include "alpa/graph/kernel.hpp"

namespace alpa {

/// How one logical tensor lies on a DeviceMesh.
///
/// `dim_axes[d]` lists the mesh axes that split dimension d, outermost first; an
/// empty list leaves the dimension whole. A mesh axis appears at most once in a
/// spec. Along axes that appear nowhere, every device holds a copy. Over the axes in
/// `partial_axes` (ascending) the true value is the sum or maximum of what the devices hold.
///
/// Example: mesh {2, 4}, tensor [64, 512] (batch, hidden)
///
///     {{0}, {1}}     each device holds [32, 128], no copies
///     {{}, {0, 1}}   each device holds [64,  64], no copies
///     {{0}, {}}      each device holds [32, 512], 4 copies of each piece
///
/// With a `margin` (of dimensions that are split) each device holds some elements before and after
/// its piece too, as many as there are: what a window that moves over the dimension needs. Margins
/// are made by a redistribution and read by operators; nothing is stored or sent with one.
struct ShardingSpec {
  std::vector<std::vector<MeshAxis>> dim_axes;
  std::vector<MeshAxis> partial_axes;
  ReduceOp partial_op = ReduceOp::sum;  ///< meaningful where partial_axes is not empty

  /// A dimension's elements beyond its pieces. Sorted by dimension, one entry each, none of 0.
  struct Margin {
    int dim = 0;
    std::int64_t before = 0, after = 0;
    friend bool operator==(const Margin&, const Margin&) = default;
    friend auto operator<=>(const Margin&, const Margin&) = default;
  };
  std::vector<Margin> margins = {};

  friend bool operator==(const ShardingSpec&, const ShardingSpec&) = default;
  friend auto operator<=>(const ShardingSpec&, const ShardingSpec&) = default;
};

/// The layout without its margins.
[[nodiscard]] ShardingSpec without_margins(ShardingSpec spec);

/// Every device holds the whole tensor of `dims` dimensions.
[[nodiscard]] ShardingSpec replicated(std::size_t dims);

/// The piece that device `index` of the mesh holds. Piece i of p of a dimension of n elements is
/// [n*i/p, n*(i+1)/p): sizes differ by at most one, and splits over two axes nest exactly. A margin
/// makes it longer on both sides, up to the ends of the dimension.
/// Example: [10] split by an axis of 4: [0,2) [2,5) [5,7) [7,10).
[[nodiscard]] Box local_box(const Shape& global, const ShardingSpec& spec, const DeviceMesh& mesh,
                            int index);

/// True if no device's piece is empty: no dimension has more pieces than elements.
[[nodiscard]] bool fits(const Shape& global, const ShardingSpec& spec, const DeviceMesh& mesh);

/// Number of devices that hold the same piece (partial axes not counted).
[[nodiscard]] int num_copies(const ShardingSpec& spec, const DeviceMesh& mesh);

/// Stable short form for plan files and tests: "[S0,S1]", "[R,S01]", "[S0,R]", and "[R,R]+P1" for
/// a partial sum over axis 1, "+M1" for a partial maximum. "[R,S0~1~2]" has a margin of one element
/// before and two after. A scalar is "[]".
[[nodiscard]] std::string to_string(const ShardingSpec& spec);

/// The inverse of to_string. @throws PlanError that quotes the text.
[[nodiscard]] ShardingSpec parse_sharding_spec(const std::string& text);

}  // namespace alpa
