#pragma once

#include <filesystem>
#include <string>

#include "alpa/config/run_config.hpp"

#include "devices.hpp"
#include "target.hpp"

namespace alpa {

/// The plan of the run before, or why it cannot go on with it.
struct KeptPlan {
  std::string text;    ///< of its plan.yaml; empty: another is needed
  std::string reason;  ///< then; empty where there is no plan
};

/// Looks at plan.yaml, config.yaml and profile.yaml of the run directory: the plan is kept while
/// ranks, devices, model and the settings of `parallel` and `cluster` are the same.
/// @throws UserError (configuration) if plan.yaml is not one
[[nodiscard]] KeptPlan plan_of_run_before(const RunConfig& config, const Target& target,
                                          const Profile& profile,
                                          const std::filesystem::path& run_directory);

}  // namespace alpa
