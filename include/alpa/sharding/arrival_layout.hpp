#pragma once

#include "alpa/base/shape.hpp"
#include "alpa/cluster/mesh.hpp"
#include "alpa/sharding/sharding_spec.hpp"

namespace alpa {

/// The layout without its partial axes: what all-reducing over them leaves.
[[nodiscard]] ShardingSpec without_partial(ShardingSpec spec);

/// Layout in which a tensor of another mesh arrives whose first consumer here wants it as `wanted`:
/// that one, with copies cut over the axes that would repeat them, so that every element crosses
/// between the meshes once. Never partial, and without margins.
/// Example: [8, 6] on mesh {2, 2}: [S0,R] arrives as [S01,R]; [R,R] of [3, 6] as [S0,S1].
[[nodiscard]] ShardingSpec arrival_layout(const Shape& shape, const ShardingSpec& wanted,
                                          const DeviceMesh& mesh);

}  // namespace alpa
