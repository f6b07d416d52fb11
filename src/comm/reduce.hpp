#pragma once

#include <cstddef>
#include <span>

#include "alpa/comm/communicator.hpp"

namespace alpa {

/// result[i] <- inputs[0][i] op inputs[1][i] op ..., in that order for every element; equal
/// lengths. `result` may be one of the inputs. Buffers need no alignment.
void reduce_in_order(std::span<const std::byte* const> inputs, std::span<std::byte> result,
                     DType dtype, Reduction op);

}  // namespace alpa
