#pragma once

#include <vector>

#include "layer_tables.hpp"

namespace alpa {

/// Answers on the way from one to another that computes more again: classes of layers go over to it
/// one after the other, first those that save most bytes for their time. None where one class saves
/// nearly all.
/// @param classes [layer of the line]
/// @param stashes that are weighed against state
[[nodiscard]] std::vector<LineAnswer> class_path(const LineAnswer& large, const LineAnswer& small,
                                                 const std::vector<int>& classes, int microbatches,
                                                 int stashes);

}  // namespace alpa
