#pragma once

#include <memory>

#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

struct PlacedGraph;

/// A plan's decisions on a graph, worked out once for several questions. Holds references to both.
struct PlacedPlan {
  /// @pre validate(plan, graph) passes
  PlacedPlan(const Graph& graph, const Plan& plan);

  std::shared_ptr<const PlacedGraph> placed;
};

}  // namespace alpa
