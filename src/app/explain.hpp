#pragma once

#include <string>

#include "alpa/config/run_config.hpp"

#include "planner.hpp"
#include "target.hpp"

namespace alpa {

/// Per stage: how attention, feed-forward and the like are split; every operator's strategy with
/// the layouts of its operands and results, and what its kernels and the moves to its operands take
/// in a step, equal layers in one line; then for the costliest of them the next best strategy,
/// found by solving the stage again without the chosen one, and what the step would take with it.
/// @pre the target's cluster is known
[[nodiscard]] std::string explain(const RunConfig& config, const Target& target,
                                  const Planned& planned);

}  // namespace alpa
