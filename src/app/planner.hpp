#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alpa/config/run_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/intra_op/stage_model.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/plan/plan_file.hpp"
#include "alpa/simulate/price.hpp"

#include "target.hpp"

namespace alpa {

/// What the planner says on its way.
struct PlanningTalk {
  std::function<void(const std::string& phase, double share, std::optional<Seconds> best)> progress;
  std::function<void(const std::string& text)> warning;
  StageRecorder record;  ///< of the search's integer programs; may be empty
};

/// A plan and what is known of it.
struct Planned {
  Plan plan;
  Graph graph;
  std::optional<PlanPrice> price;  ///< where the devices' speed is known
  std::optional<SearchFigures> search;
  std::vector<ComparedMethod> compared;
  std::optional<Seconds> one_device;  ///< the step time of the plan for one device
  std::vector<std::pair<std::string, Seconds>> phases;  ///< clock time, for the log
};

/// Whether the configuration's plan depends on the devices' speed.
[[nodiscard]] bool needs_prices(const RunConfig& config,
                                const std::optional<std::string>& plan_file);

/// The plan that the configuration asks for: from `plan_file` if given, by hand, or by search,
/// which starts from the plans by hand, priced for comparison; `compare` prices all methods in any
/// case. Deterministic, but for a search that parallel.search.seconds ends.
/// @pre target.cluster is there if needs_prices
/// @throws PlanError, UserError (configuration) for what contradicts itself or the ranks, (no_plan)
///         if a search finds nothing that fits, saying which plan needs least and what would fit
[[nodiscard]] Planned make_plan(const RunConfig& config, const Target& target,
                                const std::optional<std::string>& plan_file, bool compare,
                                const PlanningTalk& talk);

/// Price of a plan that is there already.
[[nodiscard]] Planned planned(const RunConfig& config, const Target& target, Plan plan);

/// Step time, rates, bubble and traffic; nothing without a price.
[[nodiscard]] std::optional<PredictedFigures> predicted_figures(const RunConfig& config,
                                                                const Planned& planned);

/// Bytes that the largest device of the plan is short of, 0 if it fits.
/// @param arenas of each stage
[[nodiscard]] Bytes missing_bytes(const Plan& plan, const std::vector<Bytes>& arenas,
                                  const Target& target);

}  // namespace alpa
