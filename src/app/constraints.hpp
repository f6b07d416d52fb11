#pragma once

#include "alpa/config/run_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/inter_op/search.hpp"

#include "target.hpp"

namespace alpa {

/// What the configuration fixes of the search: parallel.{microbatches, stages, logical_mesh,
/// schedule, layouts}.
/// @param graph of any microbatch size, for the operators' names
/// @throws PlanError (configuration) for values that this version cannot search for, for layouts of
///         operators that there are not, and for numbers that cannot go together on so many devices
[[nodiscard]] SearchConstraints constraints_of(const RunConfig& config, const Graph& graph,
                                               int devices);

/// The search that the configuration asks for, with what it fixes.
/// @pre target.cluster is there; the configuration outlives the request
/// @throws PlanError as constraints_of
[[nodiscard]] SearchRequest search_request(const RunConfig& config, const Target& target);

}  // namespace alpa
