#pragma once

#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/lowering/placed_plan.hpp"

namespace alpa {

/// A message from a device of one stage to one of another; of forward and backward for one
/// microbatch, of the rest once a step.
struct StageMessage {
  int from_stage = 0;
  int to_stage = 0;
  int from_chunk = 0;  ///< that makes it, of forward and backward
  int to_chunk = 0;    ///< that uses it first
  int from_rank = 0;   ///< world ranks
  int to_rank = 0;
  Phase phase = Phase::forward;  ///< in which it is sent
  Bytes size;
};

/// Every message of a training step, as the programs of all ranks hold them.
[[nodiscard]] std::vector<StageMessage> traffic(const PlacedPlan& plan);

}  // namespace alpa
