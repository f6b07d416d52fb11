#pragma once

#include <string>
#include <vector>

#include "alpa/config/run_config.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/program/program.hpp"

#include "target.hpp"

namespace alpa {

/// What the largest device of each stage needs.
struct StageNeeds {
  std::vector<ProgramTotals> totals;
  std::vector<Bytes> arenas;  ///< packed
};

/// Need and have per class, missing bytes, and settings that would fit, each lowered and packed.
/// Empty if the plan fits.
[[nodiscard]] std::string memory_objection(const RunConfig& config, const Target& target,
                                           const Plan& plan, const StageNeeds& needs);

}  // namespace alpa
