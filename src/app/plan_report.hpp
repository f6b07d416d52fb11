#pragma once

#include <string>
#include <vector>

#include "alpa/config/run_config.hpp"
#include "alpa/device/device.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/program/program.hpp"

namespace alpa {

/// What a user sees first: version, devices, model, the plan as a table.
/// @param device name of the kind
/// @param threads of each rank; 0 where that says nothing
/// @param hosts host name of every rank
[[nodiscard]] std::string start_text(const RunConfig& config, const Graph& graph, const Plan& plan,
                                     const std::vector<ProgramTotals>& totals,
                                     const std::string& device, int threads,
                                     const std::vector<std::string>& hosts);

/// The figures for plan.yaml, of each stage's first rank.
/// @param hosts host name of every rank
[[nodiscard]] PlanFigures plan_figures(const RunConfig& config, const Plan& plan,
                                       const std::vector<ProgramTotals>& totals,
                                       const std::vector<Bytes>& arenas, Bytes capacity,
                                       const std::vector<std::string>& hosts);

}  // namespace alpa
