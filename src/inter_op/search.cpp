#include "alpa/inter_op/search.hpp"

#include <algorithm>
#include <limits>

#include "alpa/graph/recompute.hpp"

#include "exact_search.hpp"
#include "search_work.hpp"
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

/// Where nothing that was found fits: with the same recomputation in all layers.
TierResult search_recomputing(SearchWork& work) {
  TierResult result{true, std::numeric_limits<double>::infinity()};
  const Graph& plain = work.graph(1, {});
  for (const Recompute choice : {Recompute::attention, Recompute::full}) {
    work.recompute(recompute_everywhere(plain, choice));
    if (recomputed_flops_per_microbatch(work.graph(1)).value == 0.0 &&
        choice == Recompute::attention) {
      continue;  // there is none
    }
    const TierResult tier = free_search(work);
    result.complete = result.complete && tier.complete;
    result.lower_bound = std::min(result.lower_bound, tier.lower_bound);
  }
  return result;
}

TierResult search_all(SearchWork& work) {
  const TierResult first = free_search(work);
  if (work.has_best() || work.request().recompute) return first;
  TierResult again = search_recomputing(work);
  again.lower_bound = std::min(again.lower_bound, first.lower_bound);
  return again;
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
