#pragma once

#include <string>
#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// Figures of a stage that plan.yaml shows beside its decisions; taken from the lowered program of
/// the stage's first rank. They are written and not read.
struct StageFigures {
  std::vector<std::pair<std::string, Bytes>> memory;  ///< by class, then `total` and `capacity`
  double flops = 0.0;                                 ///< per device and step
  std::vector<std::pair<std::string, double>> bytes_sent;  ///< by collective, per device and step
};

/// How one kind of letter is split on a stage: "b over axis 0 (2), f over axis 1 (2)".
[[nodiscard]] std::string summary_of(const StagePlan& stage, const Graph& graph);

/// plan.yaml: every decision, and per operator its layouts and collectives for people. The same plan
/// gives the same bytes.
[[nodiscard]] std::string to_yaml(const Plan& plan, const Graph& graph,
                                  const std::vector<StageFigures>& figures);

/// Reads plan.yaml. Decisions only; what is not one is ignored. `file` is named in messages.
/// @throws UserError (configuration) with every mistake, its line and column
[[nodiscard]] Plan parse_plan(const std::string& text, const std::string& file);

}  // namespace alpa
