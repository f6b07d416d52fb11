#pragma once

#include <string>
#include <vector>

#include "alpa/config/run_config.hpp"

#include "options.hpp"
#include "planner.hpp"
#include "target.hpp"

namespace alpa {

/// One --why-not: settings of `parallel`, all at once.
struct WhyNot {
  std::string text;                   ///< as it was written
  std::vector<std::string> settings;  ///< key=value of each
};

/// The questions of the command line. Settings are separated by ';'.
/// @throws UserError (usage) for what is no setting of `parallel` that a plan can be asked to have
[[nodiscard]] std::vector<WhyNot> why_not_questions(const Options& options);

/// Plans again with the settings of a question on top of the configuration's (layouts are added to
/// the configuration's, other settings take the place of their own) and says in words and in a
/// table what the step would take and why: both plans side by side, by class of time and memory.
/// What cannot be is said too: by how much it does not fit, or what it contradicts.
/// @param chosen the plan of the configuration
/// @pre the target's cluster is known
[[nodiscard]] std::string why_not(const WhyNot& question, const Options& options,
                                  const RunConfig& config, const Target& target,
                                  const Planned& chosen, const PlanningTalk& talk);

}  // namespace alpa
