#include "methods_priced.hpp"

#include <algorithm>
#include <array>
#include <future>
#include <limits>

#include "alpa/base/error.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/intra_op/folding.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/report/text.hpp"
#include "alpa/simulate/price.hpp"

#include "planner.hpp"

namespace alpa {
namespace {

constexpr std::array kMethods = {Method::data,       Method::zero1,     Method::zero2,
                                 Method::zero3,      Method::megatron,  Method::intra_only,
                                 Method::inter_only, Method::pipedream, Method::heuristic};

constexpr std::size_t kFewOperators = 600;  ///< of models that are not folded

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

/// Of layers that are like one another and do not choose alike.
const MethodPrice kUnknown{{std::numeric_limits<std::int64_t>::max()}, {}};

MethodPrice modelled_price(const Target& target, PlanModels& models, const Graph& graph,
                           const Plan& plan) {
  const ModelledPlan it = models.of(graph, plan);
  if (!it.known) return kUnknown;
  return {missing_bytes(plan, it.memory, target), it.step_time};
}

/// @param folded if given, of whose layers the models know
PricedMethod price_method(const RunConfig& config, const Target& target, Method method,
                          PlanModels* models, const FoldedModel* folded = nullptr) {
  PricedMethod priced;
  priced.method = method;
  priced.figures.method = std::string(name_of(method));
  ParallelConfig parallel = config.parallel;
  parallel.method = method;
  if (config.parallel.method != method) {
    parallel.data = parallel.tensor = parallel.pipeline = std::nullopt;
  }
  try {
    MethodRequest request = method_request(parallel, config, target, models);
    bool known = true;
    if (folded != nullptr) {
      request.line = folded->line;
      request.price = [&known, by_figures = request.price](const Graph& graph, const Plan& plan) {
        const MethodPrice found = by_figures(graph, plan);
        known = known && found != kUnknown;
        return found;
      };
    }
    const GraphOfMicrobatch graphs = folded != nullptr ? folded->graph : graphs_of(config);
    priced.plan = plan_by_method(request, graphs);
    MethodPrice found;
    if (folded != nullptr) {
      const std::int64_t microbatch = config.training.global_batch / priced.plan->num_microbatches;
      found = request.price(recomputing(graphs(microbatch), parallel.recompute), *priced.plan);
      if (!known) {
        PlanModels whole(*target.cluster);
        return price_method(config, target, method, &whole);
      }
      priced.folded = true;
    } else if (models != nullptr) {
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
    if (priced.folded) priced.plan.reset();
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
  std::optional<FoldedModel> folded;
  if (pricing == MethodPricing::modelled && target.cluster) {
    folded = folded_model(config);
    models.emplace(*target.cluster, folded ? std::optional(folded->line) : std::nullopt);
  }
  // As much work as all others together, beside them.
  std::future<PricedMethod> megatron;
  if (models) {
    megatron = std::async(std::launch::async, [&] {
      PlanModels own(*target.cluster, folded ? std::optional(folded->line) : std::nullopt);
      return price_method(config, target, Method::megatron, &own, folded ? &*folded : nullptr);
    });
  }
  std::vector<PricedMethod> priced;
  for (const Method method : kMethods) {
    const double share = static_cast<double>(priced.size()) / static_cast<double>(kMethods.size());
    told(std::string(name_of(method)), share);
    if (method == Method::megatron && megatron.valid()) {
      priced.emplace_back();  // when it is there
      continue;
    }
    priced.push_back(price_method(config, target, method, models ? &*models : nullptr,
                                  folded ? &*folded : nullptr));
  }
  if (megatron.valid()) {
    const auto place = std::find(kMethods.begin(), kMethods.end(), Method::megatron);
    priced[static_cast<std::size_t>(place - kMethods.begin())] = megatron.get();
  }
  return priced;
}

std::optional<Plan> plan_of_method(const RunConfig& config, const Target& target, Method method) {
  std::optional<PlanModels> models;
  if (target.cluster) models.emplace(*target.cluster);
  return price_method(config, target, method, models ? &*models : nullptr).plan;
}

std::optional<FoldedModel> folded_model(const RunConfig& config) {
  const bool by_name = !config.parallel.layouts.empty();
  const LayerLine folded = folded_line(layer_kinds(config.model));
  if (by_name || folded.is_whole()) return std::nullopt;
  const GraphOfMicrobatch graph = [&config, kept = kept_layers(folded)](std::int64_t microbatch) {
    return build_graph(config, microbatch, kept);
  };
  const Graph some = graph(config.training.global_batch);
  LayerLine line = checked_line(folded, some);
  const std::size_t of_layer = some.operators.size() / kept_layers(folded).size();
  if (line.is_whole() || of_layer * layer_kinds(config.model).size() <= kFewOperators) {
    return std::nullopt;
  }
  return FoldedModel{std::move(line), graph};
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
