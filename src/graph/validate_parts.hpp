#pragma once

#include "alpa/graph/graph.hpp"

namespace alpa {

class RuleBook;

/// The part of `validate` that is not about operators each by itself: unique names, tensors, and
/// that all is there when it is read. For graphs made of operators that have been validated.
/// @throws UserError naming operator and shapes
void validate_order(const Graph& graph);

/// The part of `validate` that is not about unique names.
/// @param rules takes what is found of kernels
/// @throws UserError naming operator and shapes
void validate_named(const Graph& graph, RuleBook& rules);

}  // namespace alpa
