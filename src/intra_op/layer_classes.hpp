#pragma once

#include <vector>

#include "graph_index.hpp"

namespace alpa::intra_op {

/// Class of each layer, counted from 0 in order of first appearance. Layers of one class have
/// operators of the same classes in the same order, connected in the same way among themselves and
/// with layers at the same distance.
[[nodiscard]] std::vector<int> layer_classes(const Graph& graph, const Uses& uses,
                                             const std::vector<int>& tensor_class,
                                             const std::vector<int>& op_class);

}  // namespace alpa::intra_op
