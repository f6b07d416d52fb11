#pragma once

#include "alpa/graph/graph.hpp"

namespace alpa {

/// The part of `validate` that is not about operators each by itself: unique names, tensors, and
/// that all is there when it is read. For graphs made of operators that have been validated.
/// @throws UserError naming operator and shapes
void validate_order(const Graph& graph);

}  // namespace alpa
