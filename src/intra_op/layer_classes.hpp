#pragma once

#include <vector>

#include "operator_options.hpp"
#include "run_view.hpp"

namespace alpa::intra_op {

/// Class of each layer, counted from 0 in order of first appearance. Layers of one class have the
/// same operators in the same order, with the same options, connected in the same way among
/// themselves and with layers at the same distance.
[[nodiscard]] std::vector<int> layer_classes(const Graph& graph, const Uses& uses,
                                             const OperatorOptions& options);

}  // namespace alpa::intra_op
