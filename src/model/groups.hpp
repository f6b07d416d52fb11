#pragma once

#include "alpa/config/training_config.hpp"
#include "alpa/graph/graph.hpp"

namespace alpa::model {

/// Each glob of `optimizer.groups` must match a parameter of the graph.
/// @throws UserError (configuration) naming the glob and what may have been meant
void check_groups(const Graph& graph, const OptimizerConfig& optimizer);

}  // namespace alpa::model
