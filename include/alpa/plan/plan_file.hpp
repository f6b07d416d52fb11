#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// Predicted seconds of a stage: forward and backward for one microbatch, the rest once a step.
struct StageSeconds {
  Seconds forward, backward, prepare, reduce, update;
  Seconds communication;  ///< of a step, in the times above: its collectives
};

/// Figures of a stage that plan.yaml shows beside its decisions; taken from the lowered program of
/// the stage's last rank, whose pieces are the largest. They are written and not read.
struct StageSummary {
  int hosts = 1;                                      ///< that its ranks are on
  std::vector<std::pair<std::string, Bytes>> memory;  ///< by class, then `total` and `capacity`
  double flops = 0.0;                                 ///< per device and step
  std::vector<std::pair<std::string, double>> bytes_sent;  ///< by collective, per device and step
  std::optional<StageSeconds> time;                        ///< where the cluster is known
};

/// What a plan's price says of a step. Rates count model FLOPs (no recomputation) and executed
/// ones, over all devices of the cluster, idle ones too.
struct PredictedFigures {
  Seconds step_time;
  double samples_per_second = 0.0;
  double model_flops_per_second_per_device = 0.0;
  double hardware_flops_per_second_per_device = 0.0;
  double bubble = 0.0;                            ///< share of the pipeline in which stages wait
  double communication_bytes = 0.0;               ///< sent by all devices
  std::optional<double> speedup_over_one_device;  ///< which may not hold it
};

/// How far a search got. Seconds and counts of work; no clock time.
struct SearchFigures {
  Seconds objective;
  double lower_bound = 0.0;  ///< of every plan in the declared space, seconds
  double gap = 0.0;          ///< 1 - lower_bound / objective
  int ilp_problems = 0;
  int distinct_subproblems = 0;
  std::string stopped;  ///< done, work or time
};

/// One line of `compared`: the step time, or why there is none.
struct ComparedMethod {
  std::string method;
  std::optional<Seconds> step_time;
  std::optional<Bytes> does_not_fit_by;
  std::string reason;    ///< where there is no such plan at all
  int microbatches = 0;  ///< of the plan, where there is one
};

struct PlanFigures {
  std::string preset;  ///< of the model
  int hosts = 1;       ///< of the job
  /// Of the cluster, where it is known: equal prices have equal ones.
  std::optional<std::uint64_t> cluster_fingerprint;
  std::vector<StageSummary> stages;
  std::optional<PredictedFigures> predicted;
  std::optional<SearchFigures> search;
  std::vector<ComparedMethod> compared;
};

/// What each index of the stage's forward operators is split over: {"batch", "axis 0 (2)"}.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> summary_of(const StagePlan& stage,
                                                                          const Graph& graph);

/// plan.yaml: every decision, and per operator its layouts and collectives for people. The same
/// plan gives the same bytes.
[[nodiscard]] std::string to_yaml(const Plan& plan, const Graph& graph,
                                  const PlanFigures& figures = {});

/// Reads plan.yaml. Decisions only; what is not one is ignored. `file` is named in messages.
/// @throws UserError (configuration) with every mistake, its line and column
[[nodiscard]] Plan parse_plan(const std::string& text, const std::string& file);

}  // namespace alpa
