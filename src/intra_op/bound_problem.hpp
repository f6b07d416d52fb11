#pragma once

#include "alpa/intra_op/stage_model.hpp"
#include "alpa/solver/problem.hpp"

#include "account.hpp"

namespace alpa::intra_op {

/// A relaxed problem: no choice for the layers of the run, whatever stage they are part of,
/// whatever its other layers choose, costs less than its optimum.
///
/// One node per operator and edges between makers and readers alone. A tensor's copies cost no less
/// than the dearest of them, so no less than a mean over its readers; of a weight each reader may
/// choose by itself whether the copy is made once a step or for each use. What comes from other
/// layers is there in any layout; what goes to others costs what the cheapest layout costs that
/// they can take. Bytes kept from forward to backward are those of the source or of what backward
/// reads, whichever are less; nothing is counted that lives within a phase.
[[nodiscard]] Problem bound_problem(const RunContext& run, const Uses& uses,
                                    const StageConstraints& constraints,
                                    const StageWeights& weights);

}  // namespace alpa::intra_op
