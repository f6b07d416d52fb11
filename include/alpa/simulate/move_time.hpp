#pragma once

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/sharding/redistribution.hpp"

namespace alpa {

/// What a move of a tensor takes on the mesh: its collective and the kernels that pack and unpack,
/// exactly as they are lowered for the mesh's last device, whose pieces are the largest. An
/// all-reduce counts as in place; where it is not, a copy of the piece comes on top (copy_time).
/// Nothing over axes of one device.
[[nodiscard]] Seconds move_time(const Shape& shape, DType dtype, const Move& move,
                                const MeshCosts& costs);

/// A CopyBox of a whole piece of this extent.
[[nodiscard]] Seconds copy_time(const Shape& extent, DType dtype, const MeshCosts& costs);

}  // namespace alpa
