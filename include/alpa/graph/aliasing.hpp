#pragma once

#include <cstddef>

#include "alpa/graph/kernel.hpp"

namespace alpa {

/// An element by element copy. Without a change of dtype or layout its result may be another name
/// of its operand.
[[nodiscard]] bool is_copy(const Kernel& kernel);

/// A plain sum of its operands: those that add up in one buffer anyway may be left out.
[[nodiscard]] bool is_sum(const Kernel& kernel);

/// Does the kernel read and then change this result, once a step (parameters and what is kept with
/// them)? Its other results are new.
[[nodiscard]] bool changes_in_place(const Kernel& kernel, std::size_t result);

}  // namespace alpa
