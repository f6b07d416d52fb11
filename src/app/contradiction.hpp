#pragma once

#include "alpa/config/run_config.hpp"

#include "target.hpp"

namespace alpa {

/// Refuses settings of `parallel` that leave no plan, naming the fewest of them that already do so,
/// and where an operator has no such strategy, why.
/// @pre has_plan(search_request(config, target)) is false
/// @throws PlanError (configuration)
[[noreturn]] void refuse_together(const RunConfig& config, const Target& target);

}  // namespace alpa
