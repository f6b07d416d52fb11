#include "bench/suite_rows.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>

#include "alpa/base/error.hpp"
#include "alpa/cluster/cluster_file.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/inter_op/plan_models.hpp"
#include "alpa/inter_op/search.hpp"

#include "constraints.hpp"
#include "deadline.hpp"
#include "methods_priced.hpp"
#include "planner.hpp"
#include "target.hpp"

namespace alpa {
namespace {

constexpr std::array kByHand = {Method::intra_only, Method::inter_only, Method::megatron,
                                Method::zero2,      Method::zero3,      Method::data};
constexpr std::size_t kManyOperators = 600;  ///< of graphs that are not lowered to be compared
constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;

std::string number(const char* format, double value) {
  char text[32];
  const int length = std::snprintf(text, sizeof text, format, value);
  return {text, static_cast<std::size_t>(length)};
}

struct Sizes {
  const char* suite;
  std::array<const char*, 6> sizes;  ///< for 1, 4, 8, 16, 32 and 64 devices
};
constexpr std::array kSuites = {
    Sizes{"gpt", {"350m", "1.3b", "2.6b", "6.7b", "15b", "39b"}},
    Sizes{"moe", {"380m", "1.3b", "2.4b", "10b", "27b", "70b"}},
    Sizes{"wide_resnet", {"250m", "1b", "2b", "4b", "6.8b", "13b"}},
};

/// What a method comes to.
struct Outcome {
  std::optional<Planned> plan;   ///< that fits
  std::optional<Bytes> missing;  ///< where none fits: of the smallest
};

void take(Outcome& best, Outcome other) {
  if (other.plan) {
    const bool better = !best.plan || other.plan->price->step_time < best.plan->price->step_time;
    if (better) best.plan = std::move(other.plan);
  } else if (other.missing && (!best.missing || *other.missing < *best.missing)) {
    best.missing = other.missing;
  }
}

Outcome outcome_of(const RunConfig& config, const Target& target, const Plan& plan) {
  Planned made = planned(config, target, plan);
  const Bytes missing = missing_bytes(made.plan, made.price->arenas, target);
  if (missing > Bytes{0}) return {std::nullopt, missing};
  return {std::move(made), std::nullopt};
}

/// @param models for choosing microbatches and degrees; else every choice is lowered
Outcome by_hand(const RunConfig& config, const Target& target, PlanModels* models) {
  try {
    const MethodRequest request = method_request(config.parallel, config, target, models);
    return outcome_of(config, target, plan_by_method(request, graphs_of(config)));
  } catch (const PlanError&) {  // an answer: the method has no plan here
    return {};
  }
}

Outcome by_hand(RunConfig config, const Target& target, Method method) {
  config.parallel.method = method;
  config.parallel.data = config.parallel.tensor = config.parallel.pipeline = std::nullopt;
  std::vector<std::optional<Recompute>> recompute{config.parallel.recompute};
  if (!recompute.front()) recompute = {Recompute::none, Recompute::full};
  Outcome best;
  for (const auto& each : recompute) {
    config.parallel.recompute = each;
    PlanModels models(*target.cluster);
    Outcome found = by_hand(config, target, &models);
    if (!found.plan) found = by_hand(config, target, nullptr);
    take(best, std::move(found));
  }
  return best;
}

/// What `alpa_train` takes: the search's plan, or one by hand where that is better.
struct Searched {
  Outcome outcome;
  double lower_bound = 0.0;
  std::string stopped;
  double seconds = 0.0;
};

Searched automatic(const RunConfig& config, const Target& target) {
  const auto start = std::chrono::steady_clock::now();
  const Deadline deadline(config.parallel.search.seconds);
  SearchRequest request = search_request(config, target);
  request.stop = deadline.token();
  const SearchResult result = search(request);
  Searched found;
  found.lower_bound = result.lower_bound;
  found.stopped = result.stopped;
  if (result.plan) {
    found.outcome.plan = planned(config, target, *result.plan);
  } else if (result.least_memory_plan) {
    found.outcome = outcome_of(config, target, *result.least_memory_plan);
  }
  const bool lowers = request.graph(request.samples_of_group).operators.size() <= kManyOperators;
  const auto methods =
      price_methods(config, target, lowers ? MethodPricing::lowered : MethodPricing::modelled,
                    [](const std::string&, double) {});
  for (const PricedMethod& method : methods) {
    if (!method.figures.step_time) continue;
    const auto& best = found.outcome.plan;
    if (best && *method.figures.step_time >= best->price->step_time) continue;
    const auto plan = method.plan ? method.plan : plan_of_method(config, target, method.method);
    if (plan) take(found.outcome, outcome_of(config, target, *plan));
  }
  const auto end = std::chrono::steady_clock::now();
  found.seconds = std::chrono::duration<double>(end - start).count();
  return found;
}

std::string rates(const RunConfig& config, const Outcome& outcome) {
  if (outcome.plan) {
    const PredictedFigures figures = *predicted_figures(config, *outcome.plan);
    return number("%.1f", figures.hardware_flops_per_second_per_device * 1e-12) + " / " +
           number("%.1f", figures.model_flops_per_second_per_device * 1e-12);
  }
  if (!outcome.missing) return "no plan";
  return "lacks " + number("%.1f", static_cast<double>(outcome.missing->value) / kGibibyte) +
         " GiB";
}

std::string gap_of(const Searched& found) {
  if (!found.outcome.plan) return "-";
  const double share = found.lower_bound / found.outcome.plan->price->step_time.value;
  return number("%.1f %%", 100.0 * std::max(0.0, 1.0 - share));
}

std::string structure_of(const Plan& plan) {
  const auto stages = plan.stages.size();
  const bool again = std::any_of(plan.recompute.begin(), plan.recompute.end(),
                                 [](Recompute r) { return r != Recompute::none; });
  return std::to_string(stages) + (stages == 1 ? " stage, " : " stages, ") +
         std::to_string(plan.num_microbatches) + " microbatches" + (again ? ", recomputes" : "");
}

struct Question {
  RunConfig config;
  Target target;
};

Question question_of(const SuiteCase& c, const std::vector<std::string>& overrides) {
  const RunConfig config = load_run_config(config_of(c), overrides);
  return {config, target_of(config, load_cluster(cluster_of(c)))};
}

}  // namespace

std::string config_of(const SuiteCase& c) {
  return "configs/" + c.suite + "/" + c.suite + "-" + c.size + ".yaml";
}

std::string cluster_of(const SuiteCase& c) {
  return "configs/clusters/p3.16xlarge-" + std::to_string(c.devices) + ".yaml";
}

std::vector<SuiteCase> growing_suites() {
  constexpr std::array kDevices = {1, 2, 4, 8, 16, 32, 64};
  std::vector<SuiteCase> cases;
  for (const Sizes& suite : kSuites) {
    for (std::size_t d = 0; d < kDevices.size(); ++d) {
      const std::size_t size = d == 0 ? 0 : d - 1;
      cases.push_back({suite.suite, suite.sizes[size], kDevices[d]});
    }
  }
  return cases;
}

std::vector<SuiteCase> every_size() {
  std::vector<SuiteCase> cases;
  for (const Sizes& suite : kSuites) {
    for (const char* size : suite.sizes) {
      for (const int devices : {8, 64}) cases.push_back({suite.suite, size, devices});
    }
  }
  return cases;
}

std::vector<std::string> method_columns() {
  std::vector<std::string> columns{"auto", "gap"};
  for (const Method method : kByHand) columns.emplace_back(name_of(method));
  return columns;
}

std::vector<std::string> planning_columns() {
  return {"planning", "step", "lower bound", "gap", "plan"};
}

std::vector<std::string> compare_methods(const SuiteCase& c,
                                         const std::vector<std::string>& overrides) {
  const Question q = question_of(c, overrides);
  const Searched found = automatic(q.config, q.target);
  std::vector<std::string> cells{rates(q.config, found.outcome), gap_of(found)};
  for (const Method method : kByHand) {
    cells.push_back(rates(q.config, by_hand(q.config, q.target, method)));
  }
  return cells;
}

std::vector<std::string> measure_planning(const SuiteCase& c,
                                          const std::vector<std::string>& overrides) {
  const Question q = question_of(c, overrides);
  const Searched found = automatic(q.config, q.target);
  const std::string seconds =
      number("%.1f s", found.seconds) + (found.stopped == "time" ? " (limit)" : "");
  if (!found.outcome.plan) return {seconds, "-", "-", "-", rates(q.config, found.outcome)};
  const double price = found.outcome.plan->price->step_time.value;
  return {seconds, number("%.4g s", price), number("%.4g s", std::min(found.lower_bound, price)),
          gap_of(found), structure_of(found.outcome.plan->plan)};
}

}  // namespace alpa
