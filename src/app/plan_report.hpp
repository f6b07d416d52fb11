#pragma once

#include <optional>
#include <string>
#include <vector>

#include "alpa/config/run_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/program/program.hpp"

#include "objection.hpp"
#include "planner.hpp"
#include "target.hpp"

namespace alpa {

/// What a user sees first: version, devices, model, the plan as a table.
/// @param device name of the kind
/// @param threads of each rank; 0 where that says nothing
/// @param hosts host name of every rank
[[nodiscard]] std::string start_text(const RunConfig& config, const Planned& planned,
                                     const std::vector<ProgramTotals>& totals,
                                     const std::string& device, int threads,
                                     const std::vector<std::string>& hosts);

/// The predicted step time and where it goes, how far from the bound, and what the methods by hand
/// would take; empty without a price.
[[nodiscard]] std::string prediction_text(const RunConfig& config, const Planned& planned);

/// Kernels and collectives of a step, on average over the devices that work; where ranks share
/// cores their sum may exceed the step, since a stage runs faster while others wait.
struct DeviceTime {
  Seconds kernels, collectives;
};
[[nodiscard]] DeviceTime device_time(const Plan& plan, const PlanPrice& price);

/// Phases of planning and their seconds, in one line.
[[nodiscard]] std::string phases_text(const Planned& planned);

/// The figures for plan.yaml.
/// @param needs of each stage's last device
/// @param hosts host name of every rank
[[nodiscard]] PlanFigures plan_figures(const RunConfig& config, const Target& target,
                                       const Planned& planned, const StageNeeds& needs,
                                       const std::vector<std::string>& hosts);

/// The totals of each stage's last device for every rank; zeros for idle ones.
[[nodiscard]] std::vector<ProgramTotals> by_rank(const Plan& plan, const StageNeeds& needs);

}  // namespace alpa
