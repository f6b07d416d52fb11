#pragma once

#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// What a plan by hand does with the axes of a stage's mesh. An axis of -1 is not there.
struct HandAxes {
  MeshAxis data = -1;
  MeshAxis tensor = -1;
  int zero = 0;           ///< stage of ZeRO on the data axis, 0 to 3
  MeshAxis largest = -1;  ///< heuristic: splits the largest dimension of each parameter
};

/// Fills strategies and retention of every operator of the stage.
void choose_by_hand(StagePlan& stage, const Graph& graph, const HandAxes& axes);

}  // namespace alpa
