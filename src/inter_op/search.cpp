#include "alpa/inter_op/search.hpp"

#include <algorithm>

#include "alpa/graph/recompute.hpp"

#include "exact_search.hpp"
#include "search_work.hpp"
#include "space_bound.hpp"
#include "wide_search.hpp"

namespace alpa {
namespace {

/// The plan that everything is fixed to.
TierResult fixed_plan(SearchWork& work) {
  const Plan& plan = *work.request().constraints.plan;
  const Graph& graph = work.graph(plan.num_microbatches, plan.recompute);
  validate(plan, graph);
  const auto offered = work.offer(plan);
  return {true, offered.price.step_time.value};
}

void offer_seeds(SearchWork& work) {
  for (const Plan& seed : work.request().seeds) {
    const Graph& graph = work.graph(seed.num_microbatches, seed.recompute);
    validate(seed, graph);
    if (seed.recompute != work.recompute()) continue;
    if (meets(seed, graph, work.request().constraints)) (void)work.offer(seed);
  }
}

TierResult free_search(SearchWork& work) {
  offer_seeds(work);
  if (work.stopped()) return {false, 0.0};
  if (auto exact = exact_search(work)) {
    if (exact->complete) return *exact;
    TierResult wide = wide_search(work);
    wide.lower_bound = std::max(wide.lower_bound, exact->lower_bound);
    return wide;
  }
  return wide_search(work);
}

bool computes_again(const Graph& graph) {
  return std::any_of(graph.operators.begin(), graph.operators.end(),
                     [](const Operator& op) { return op.copy_of.valid(); });
}

/// Nothing computed again, then all layers alike wherever that may be better than the best so far.
/// Where choices are too many to count out, attention is looked at only where memory is short:
/// nothing fits without recomputation, or what does is slower than with.
TierResult search_all(SearchWork& work) {
  TierResult result = free_search(work);
  if (work.request().recompute) return result;
  const bool counted_out = result.complete;
  for (const Recompute choice : {Recompute::full, Recompute::attention}) {
    const bool memory_is_short = !work.has_best() || !work.best()->recompute.empty();
    if (choice == Recompute::attention && !counted_out && !memory_is_short) break;
    work.recompute(recompute_everywhere(work.graph(1, {}), choice));
    if (!computes_again(work.graph(work.microbatch_counts().front()))) continue;
    const double bound = work_bound(work) + work.norm();
    if (bound >= work.best_time()) continue;
    const TierResult tier = work.stopped() ? TierResult{false, bound} : free_search(work);
    result.complete = result.complete && tier.complete;
    result.lower_bound = std::min(result.lower_bound, tier.lower_bound);
  }
  if (!work.has_best()) {
    work.recompute(recompute_everywhere(work.graph(1, {}), Recompute::full));
  }
  return result;
}

/// A closer bound of the whole space, whatever is computed again; 0 if there is no time for it.
double closer_bound(SearchWork& work) {
  std::vector<std::vector<Recompute>> choices;
  if (work.request().recompute) {
    choices.push_back(work.recompute());
  } else {
    for (const Recompute choice : {Recompute::none, Recompute::attention, Recompute::full}) {
      choices.push_back(recompute_everywhere(work.graph(1, {}), choice));
    }
  }
  double least = work.best_time();
  for (const auto& choice : choices) {
    if (work.request().stop.stop_requested()) return 0.0;
    work.recompute(choice);
    least = std::min(least, SpaceBound(work).below(work.best_time() - work.norm()) + work.norm());
  }
  return least;
}

}  // namespace

double SearchResult::gap() const {
  const double time = price.step_time.value;
  return plan && time > 0.0 ? std::max(0.0, 1.0 - lower_bound / time) : 0.0;
}

SearchResult search(const SearchRequest& request) {
  SearchWork work(request);
  const TierResult tier = request.constraints.plan ? fixed_plan(work) : search_all(work);
  if (!work.has_best() && !request.constraints.plan) search_least_memory(work);
  SearchResult result;
  result.plan = work.best();
  result.price = work.best_price();
  result.lower_bound = tier.lower_bound;
  if (work.has_best() && !request.constraints.plan && !tier.complete) {
    result.lower_bound = std::max(result.lower_bound, closer_bound(work));
  }
  if (work.has_best()) result.lower_bound = std::min(result.lower_bound, work.best_time());
  result.ilp_problems = work.problems();
  result.distinct_subproblems = work.distinct();
  result.stopped = work.reason();
  if (!result.plan) {
    result.least_memory = work.least_memory();
    result.least_memory_plan = work.least_memory_plan();
  }
  result.phases = work.phases();
  return result;
}

SearchConstraints constraints_of(const Plan& plan) {
  SearchConstraints constraints;
  constraints.plan = plan;
  return constraints;
}

}  // namespace alpa
