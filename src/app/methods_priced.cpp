#include "methods_priced.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "alpa/base/error.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/report/text.hpp"
#include "alpa/simulate/price.hpp"

#include "planner.hpp"

namespace alpa {
namespace {

constexpr std::array kMethods = {Method::data,       Method::zero1,     Method::zero2,
                                 Method::zero3,      Method::megatron,  Method::intra_only,
                                 Method::inter_only, Method::pipedream, Method::heuristic};

/// No device does products faster than this.
double best_rate(const RunConfig& config, const ClusterSpec& cluster) {
  double best = 0.0;
  for (const DeviceKind& kind : cluster.kinds) {
    if (!kind.kernels.empty()) return std::numeric_limits<double>::infinity();  // no roofline
    double share = kind.product_efficiency.empty() ? 1.0 : 0.0;
    for (const auto& [flops, reached] : kind.product_efficiency) share = std::max(share, reached);
    for (const auto& [type, rate] : kind.peak_flops) {
      if (type == dtype_of(config)) best = std::max(best, rate * share);
    }
  }
  return best;
}

MethodPrice price_of_method(const Target& target, const Graph& graph, const Plan& plan) {
  MethodPrice found;
  if (target.cluster) {
    const PlanPrice it = price(graph, plan, *target.cluster, target.workspace);
    found = {missing_bytes(plan, it.arenas, target), it.step_time};
    if (found.missing.value > 0) return found;
  }
  // Which device of a stage needs most is looked at where it decides.
  std::vector<Bytes> arenas;
  for (const StageMemory& stage : stage_memory(graph, plan, target.workspace)) {
    arenas.push_back(stage.arena);
  }
  found.missing = missing_bytes(plan, arenas, target);
  return found;
}

MethodPrice modelled_price(const Target& target, PlanModels& models, const Graph& graph,
                           const Plan& plan) {
  const ModelledPlan it = models.of(graph, plan);
  return {missing_bytes(plan, it.memory, target), it.step_time};
}

PricedMethod price_method(const RunConfig& config, const Target& target, Method method,
                          PlanModels* models) {
  PricedMethod priced;
  priced.figures.method = std::string(name_of(method));
  ParallelConfig parallel = config.parallel;
  parallel.method = method;
  if (config.parallel.method != method) {
    parallel.data = parallel.tensor = parallel.pipeline = std::nullopt;
  }
  try {
    const MethodRequest request = method_request(parallel, config, target, models);
    priced.plan = plan_by_method(request, graphs_of(config));
    MethodPrice found;
    if (models != nullptr) {
      found = request.price(graph_of(config, *priced.plan), *priced.plan);
    } else {
      const Planned it = planned(config, target, *priced.plan);
      found = {missing_bytes(it.plan, it.price->arenas, target), it.price->step_time};
    }
    if (found.missing.value > 0)
      priced.figures.does_not_fit_by = found.missing;
    else
      priced.figures.step_time = found.step_time;
    priced.figures.microbatches = priced.plan->num_microbatches;
  } catch (const PlanError& error) {  // an answer: this method has no plan here
    priced.figures.reason = error.what();
  }
  return priced;
}

}  // namespace

GraphOfMicrobatch graphs_of(const RunConfig& config) {
  return [&config](std::int64_t microbatch) { return build_graph(config, microbatch); };
}

Graph graph_of(const RunConfig& config, const Plan& plan) {
  const Graph plain = build_graph(config, config.training.global_batch / plan.num_microbatches);
  return with_recomputation(plain, plan.recompute);
}

MethodRequest method_request(const ParallelConfig& parallel, const RunConfig& config,
                             const Target& target, PlanModels* models) {
  MethodRequest request{parallel, target.ranks, config.training.global_batch,
                        samples_of_group(config.model)};
  request.price = [&target, models](const Graph& graph, const Plan& plan) {
    const bool known =
        plan.schedule == PipelineKind::gpipe || plan.schedule == PipelineKind::one_f_one_b;
    const bool modelled = models != nullptr && known;
    return modelled ? modelled_price(target, *models, graph, plan)
                    : price_of_method(target, graph, plan);
  };
  if (!target.cluster) return request;
  const double rate = best_rate(config, *target.cluster);
  request.least_time = [rate](Flops flops) { return Seconds{flops.value / rate}; };
  return request;
}

std::vector<PricedMethod> price_methods(
    const RunConfig& config, const Target& target, MethodPricing pricing,
    const std::function<void(const std::string& method, double share)>& told) {
  std::optional<PlanModels> models;
  if (pricing == MethodPricing::modelled && target.cluster) models.emplace(*target.cluster);
  std::vector<PricedMethod> priced;
  for (const Method method : kMethods) {
    const double share = static_cast<double>(priced.size()) / static_cast<double>(kMethods.size());
    told(std::string(name_of(method)), share);
    priced.push_back(price_method(config, target, method, models ? &*models : nullptr));
  }
  return priced;
}

std::string compare_table(const std::vector<ComparedMethod>& compared) {
  std::vector<std::vector<std::string>> rows{
      {"method", "microbatches", "step time", "too large by"}};
  std::string reasons;
  for (const ComparedMethod& c : compared) {
    rows.push_back({c.method, c.microbatches > 0 ? std::to_string(c.microbatches) : "-",
                    c.step_time ? to_text(*c.step_time) : "-",
                    c.does_not_fit_by ? to_text(*c.does_not_fit_by) : "-"});
    if (!c.reason.empty()) reasons += c.method + ": " + c.reason + "\n";
  }
  return text_table(rows) + reasons;
}

}  // namespace alpa
