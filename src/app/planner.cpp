#include "planner.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/inter_op/search.hpp"
#include "alpa/model/build_graph.hpp"

#include "constraints.hpp"
#include "contradiction.hpp"
#include "deadline.hpp"
#include "methods_priced.hpp"
#include "objection.hpp"

namespace alpa {
namespace {

/// Clock time of one phase after the other.
class Phases {
 public:
  void end(const std::string& name) {
    const auto now = std::chrono::steady_clock::now();
    phases_.emplace_back(name, Seconds{std::chrono::duration<double>(now - since_).count()});
    since_ = now;
  }
  std::vector<std::pair<std::string, Seconds>> take() { return std::move(phases_); }

 private:
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  std::vector<std::pair<std::string, Seconds>> phases_;
};

std::optional<std::string> file_of(const RunConfig& config,
                                   const std::optional<std::string>& plan_file) {
  if (plan_file || config.parallel.method != Method::plan) return plan_file;
  return config.parallel.plan;
}

Plan read_plan(const RunConfig& config, int ranks, const std::string& file) {
  Plan plan = parse_plan(read_text_file(file, std::size_t{512} << 20U), file);
  if (plan.world_size != ranks) {
    throw PlanError(file + ": the plan is for " + std::to_string(plan.world_size) +
                    " ranks, found " + std::to_string(ranks) + ": start " +
                    std::to_string(plan.world_size) +
                    " ranks, or choose a method instead of the plan");
  }
  check_microbatches(file + ": microbatches", plan.num_microbatches, config.training.global_batch,
                     samples_of_group(config.model));
  const Graph kept = build_graph(config, config.training.global_batch / plan.num_microbatches);
  if (plan.graph_fingerprint != fingerprint(kept)) {
    throw PlanError(file +
                    ": the plan is for another model, batch or optimizer: make it anew "
                    "with --plan-only");
  }
  validate(plan, with_recomputation(kept, plan.recompute));
  return plan;
}

/// Graphs of more operators are not lowered for mere comparison.
constexpr std::size_t kManyOperators = 600;

/// What the whole step takes on the first device alone, the others idle.
Seconds one_device_time(const RunConfig& config, const Target& target) {
  MethodRequest request;
  request.parallel.method = Method::data;
  request.global_batch = config.training.global_batch;
  request.samples_of_group = samples_of_group(config.model);
  if (const auto folded = folded_model(config)) {
    request.line = folded->line;
    Plan plan = plan_by_method(request, folded->graph);
    plan.world_size = target.ranks;
    const Graph graph = folded->graph(config.training.global_batch / plan.num_microbatches);
    const ModelledPlan found = PlanModels(*target.cluster, folded->line).of(graph, plan);
    if (found.known) return found.step_time;
    request.line.reset();
  }
  Plan plan = plan_by_method(request, graphs_of(config));
  plan.world_size = target.ranks;
  const Graph graph = graph_of(config, plan);
  if (graph.operators.size() > kManyOperators) {
    return PlanModels(*target.cluster).of(graph, plan).step_time;
  }
  return price(graph, plan, *target.cluster, target.workspace).step_time;
}

/// Of large models found out beside the search, which is not on all threads at all times.
struct BesideSearch {
  std::vector<PricedMethod> methods;
  Seconds one_device;
};

/// @pre target.cluster is there
BesideSearch beside_search(const RunConfig& config, const Target& target) {
  const auto quietly = [](const std::string&, double) {};
  return {price_methods(config, target, MethodPricing::modelled, quietly),
          one_device_time(config, target)};
}

std::function<void(const std::string&, double)> talk_of(const PlanningTalk& talk) {
  return [&talk](const std::string& method, double share) {
    talk.progress("price " + method, share, std::nullopt);
  };
}

/// The best plan by hand that fits, where the search has none.
std::optional<Plan> best_by_hand(const RunConfig& config, const Target& target,
                                 std::vector<PricedMethod> methods) {
  std::erase_if(methods, [](const PricedMethod& method) { return !method.figures.step_time; });
  std::stable_sort(methods.begin(), methods.end(),
                   [](const PricedMethod& a, const PricedMethod& b) {
                     return *a.figures.step_time < *b.figures.step_time;
                   });
  for (const PricedMethod& method : methods) {
    auto plan = method.folded ? plan_of_method(config, target, method.method) : method.plan;
    if (!plan) continue;
    const Planned it = planned(config, target, *plan);
    if (missing_bytes(it.plan, it.price->arenas, target).value <= 0) return plan;
  }
  return std::nullopt;
}

[[noreturn]] void refuse(const RunConfig& config, const Target& target,
                         const SearchResult& result) {
  const std::string early = result.stopped == "done"
                                ? ""
                                : "the search was ended by its limit of " + result.stopped +
                                      " before it had looked everywhere: raise parallel.search." +
                                      (result.stopped == "time" ? "seconds" : "nodes");
  if (!result.least_memory_plan) {
    if (early.empty()) refuse_together(config, target);
    throw UserError("no plan fits: " + early, ExitCode::no_plan);
  }
  const Plan& plan = *result.least_memory_plan;
  const PlanPrice it = price(graph_of(config, plan), plan, *target.cluster, target.workspace);
  const std::string text = memory_objection(config, target, plan, {it.totals, it.arenas});
  throw UserError(early.empty() ? text : text + "  " + early + "\n", ExitCode::no_plan);
}

Planned search_plan(const RunConfig& config, const Target& target, const PlanningTalk& talk,
                    const Deadline& deadline) {
  SearchRequest request = search_request(config, target);
  request.progress = talk.progress;
  request.record = talk.record;
  request.stop = deadline.token();
  // Found out before the search has looked everywhere.
  if (!config.parallel.layouts.empty() && !has_plan(request)) refuse_together(config, target);
  const SearchResult result = search(request);
  if (!result.plan) {
    if (result.stopped == "done") refuse(config, target, result);  // it has tried those by hand
    const auto by_hand = best_by_hand(
        config, target, price_methods(config, target, MethodPricing::modelled, talk_of(talk)));
    if (!by_hand) refuse(config, target, result);
    talk.warning("the search found no plan (" + result.stopped + "): a plan by hand, " +
                 by_hand->method + ", is taken");
    Planned taken = planned(config, target, *by_hand);
    taken.plan.method = "auto";
    const Seconds price = taken.price->step_time;
    const double bound = std::min(result.lower_bound, price.value);
    taken.search = SearchFigures{price,
                                 bound,
                                 1.0 - bound / price.value,
                                 result.ilp_problems,
                                 result.distinct_subproblems,
                                 result.stopped};
    taken.phases = result.phases;
    return taken;
  }
  Planned found{*result.plan, graph_of(config, *result.plan), result.price, {}, {}, {}, {}};
  found.search = SearchFigures{result.price.step_time, result.lower_bound,          result.gap(),
                               result.ilp_problems,    result.distinct_subproblems, result.stopped};
  found.phases = result.phases;
  return found;
}

/// A plan by hand takes the place of the search's where it is better.
void take_better(const RunConfig& config, const Target& target,
                 const std::vector<PricedMethod>& methods, Planned& made) {
  for (const PricedMethod& method : methods) {
    if (!method.figures.step_time || *method.figures.step_time >= made.price->step_time) continue;
    const auto plan = method.folded ? plan_of_method(config, target, method.method) : method.plan;
    if (!plan) continue;
    Planned other = planned(config, target, *plan);
    const bool fits = missing_bytes(other.plan, other.price->arenas, target).value <= 0;
    if (!fits || other.price->step_time >= made.price->step_time) continue;
    made.plan = std::move(other.plan);
    made.plan.method = "auto";
    made.graph = std::move(other.graph);
    made.price = std::move(other.price);
    SearchFigures& search = *made.search;
    search.objective = made.price->step_time;
    search.lower_bound = std::min(search.lower_bound, search.objective.value);
    search.gap = 1.0 - search.lower_bound / search.objective.value;
  }
}

void compare(const RunConfig& config, const std::vector<PricedMethod>& methods,
             const std::optional<Planned>& automatic, Planned& made) {
  for (const PricedMethod& method : methods) made.compared.push_back(method.figures);
  const bool is_automatic = config.parallel.method == Method::automatic;
  const Planned* other = is_automatic ? &made : automatic ? &*automatic : nullptr;
  if (other != nullptr) {
    made.compared.push_back(
        {"auto", other->price->step_time, {}, "", other->plan.num_microbatches});
  }
}

/// The search's plan beside one by hand, where there is one.
std::optional<Planned> try_searching(const RunConfig& config, const Target& target,
                                     const PlanningTalk& talk, const Deadline& deadline) {
  RunConfig changed = config;
  ParallelConfig& parallel = changed.parallel;
  parallel.method = Method::automatic;
  parallel.data = parallel.tensor = parallel.pipeline = std::nullopt;
  try {
    return search_plan(changed, target, talk, deadline);
  } catch (const Error& error) {
    if (error.code() != ExitCode::no_plan && error.code() != ExitCode::configuration) throw;
    return std::nullopt;
  }
}

Planned made_by_hand(const RunConfig& config, const Target& target,
                     const std::optional<std::string>& file) {
  Plan plan =
      file ? read_plan(config, target.ranks, *file)
           : plan_by_method(method_request(config.parallel, config, target), graphs_of(config));
  return planned(config, target, std::move(plan));
}

}  // namespace

bool needs_prices(const RunConfig& config, const std::optional<std::string>& plan_file) {
  if (plan_file) return false;
  const ParallelConfig& parallel = config.parallel;
  if (parallel.method == Method::automatic) return true;
  if (parallel.method != Method::megatron) return false;
  const int given =
      (parallel.data ? 1 : 0) + (parallel.tensor ? 1 : 0) + (parallel.pipeline ? 1 : 0);
  return given < 2;
}

Planned planned(const RunConfig& config, const Target& target, Plan plan) {
  Planned it;
  it.graph = graph_of(config, plan);
  it.plan = std::move(plan);
  if (!target.cluster) return it;
  it.price = price(it.graph, it.plan, *target.cluster, target.workspace);
  const auto memory = stage_memory(it.graph, it.plan, target.workspace);
  for (std::size_t s = 0; s < memory.size(); ++s) {
    it.price->arenas[s] = memory[s].arena;
    it.price->totals[s].memory = memory[s].memory;
  }
  return it;
}

Planned make_plan(const RunConfig& config, const Target& target,
                  const std::optional<std::string>& plan_file, bool compares,
                  const PlanningTalk& talk) {
  Phases phases;
  const auto file = file_of(config, plan_file);
  const bool searches = !file && config.parallel.method == Method::automatic;
  const Deadline deadline(config.parallel.search.seconds);
  std::future<BesideSearch> beside;
  if (searches && !compares && folded_model(config)) {
    beside = std::async(std::launch::async, beside_search, std::cref(config), std::cref(target));
  }
  Planned made =
      searches ? search_plan(config, target, talk, deadline) : made_by_hand(config, target, file);
  std::vector<std::pair<std::string, Seconds>> inner = std::move(made.phases);
  phases.end(searches ? "search" : "plan");
  if (searches || compares) {
    const bool lowers = compares || made.graph.operators.size() <= kManyOperators;
    std::vector<PricedMethod> methods;
    if (beside.valid()) {
      BesideSearch found = beside.get();
      methods = std::move(found.methods);
      made.one_device = found.one_device;
    } else {
      methods = price_methods(
          config, target, lowers ? MethodPricing::lowered : MethodPricing::modelled, talk_of(talk));
    }
    if (searches) take_better(config, target, methods, made);
    phases.end("plans by hand");
    std::optional<Planned> automatic;
    if (!searches) automatic = try_searching(config, target, talk, deadline);
    compare(config, methods, automatic, made);
    phases.end("compare");
  }
  if (target.cluster && !made.one_device) made.one_device = one_device_time(config, target);
  phases.end("one device");
  made.phases = phases.take();
  for (auto& [name, seconds] : inner) made.phases.emplace_back("search: " + name, seconds);
  return made;
}

std::optional<PredictedFigures> predicted_figures(const RunConfig& config, const Planned& planned) {
  if (!planned.price) return std::nullopt;
  const PlanPrice& price = *planned.price;
  const double seconds = price.step_time.value;
  const double devices = planned.plan.world_size;
  PredictedFigures figures;
  figures.step_time = price.step_time;
  figures.samples_per_second = static_cast<double>(config.training.global_batch) / seconds;
  const double model_flops =
      flops_per_microbatch(planned.graph).value * planned.plan.num_microbatches;
  figures.model_flops_per_second_per_device = model_flops / seconds / devices;
  double executed = 0.0;
  for (std::size_t s = 0; s < planned.plan.stages.size(); ++s) {
    const auto ranks = static_cast<double>(planned.plan.stages[s].ranks.size());
    executed += ranks * price.totals[s].flops;
    for (const auto& [kind, bytes] : price.totals[s].bytes_sent) {
      figures.communication_bytes += ranks * bytes;
    }
  }
  figures.hardware_flops_per_second_per_device = executed / seconds / devices;
  figures.bubble = price.bubble;
  if (planned.one_device) figures.speedup_over_one_device = planned.one_device->value / seconds;
  return figures;
}

Bytes missing_bytes(const Plan& plan, const std::vector<Bytes>& arenas, const Target& target) {
  Bytes missing{0};
  for (std::size_t s = 0; s < arenas.size(); ++s) {
    missing = std::max(missing, arenas[s] - capacity_of(target, plan.stages[s]));
  }
  return missing;
}

}  // namespace alpa
