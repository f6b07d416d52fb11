#pragma once

#include "alpa/base/shape.hpp"

namespace alpa {

/// True if pieces that lie one behind the other along `dim` are, dense and in order, the whole: a
/// gather lands in place then, and a reduce-scatter reads in place. Else each piece is packed or
/// unpacked by a CopyBox of its own.
///
/// Example: [4, 6] cut along 0: rows [0,2) then rows [2,4) are the whole; cut along 1 they are not.
[[nodiscard]] bool is_outermost(const Box& whole, int dim);

}  // namespace alpa
