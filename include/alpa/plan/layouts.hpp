#pragma once

#include <string>
#include <utility>
#include <vector>

#include "alpa/config/parallel_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/sharding/strategy.hpp"

namespace alpa {

/// `parallel.layouts`: globs of operator names with the strategy of what they match, in the order
/// written. A glob names whole operators; `*` stands for any text.
using NamedStrategies = std::vector<std::pair<std::string, Strategy>>;

/// The strategies that the configuration names, each of which the rules of its operators have on
/// some mesh.
/// @param graph of any microbatch size
/// @throws PlanError (configuration) naming the glob, for one that matches no operator with the
///         nearest names, for letters that an operator does not have or cannot split with those
///         that it can
[[nodiscard]] NamedStrategies layouts_of(const ParallelConfig& parallel, const Graph& graph);

/// The strategy of an operator: that of the last glob that matches; null if none does.
[[nodiscard]] const Strategy* strategy_of(const NamedStrategies& layouts, const std::string& name);

}  // namespace alpa
