#include "alpa/inter_op/search.hpp"

#include <algorithm>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <numeric>
#include <stop_token>

#include "exact_search.hpp"
#include "hand_plans.hpp"
#include "kernel_bound.hpp"
#include "layer_tables.hpp"
#include "least_bytes.hpp"
#include "least_memory.hpp"
#include "schedule_moves.hpp"
#include "search_work.hpp"
#include "space_bound.hpp"
#include "wide_search.hpp"

namespace alpa {
namespace {

constexpr double kBeside = 0.95;  ///< of what the first cuts are rated at: bound beside the search

/// The plan that everything is fixed to.
TierResult fixed_plan(SearchWork& work) {
  const Plan& plan = *work.request().constraints.plan;
  const Graph& graph = work.whole_graph(plan.num_microbatches, plan.recompute);
  validate(plan, graph);
  const auto offered = work.offer(plan);
  return {true, offered.price.step_time.value};
}

void offer_seeds(SearchWork& work) {
  for (const Plan& seed : work.request().seeds) {
    const Graph& graph = work.whole_graph(seed.num_microbatches, seed.recompute);
    validate(seed, graph);
    if (work.request().recompute && seed.recompute != work.recompute()) continue;
    if (meets(seed, graph, work.request().constraints)) (void)work.offer(seed);
  }
}

bool computes_again(const Graph& graph) {
  return std::any_of(graph.operators.begin(), graph.operators.end(),
                     [](const Operator& op) { return op.copy_of.valid(); });
}

std::vector<std::vector<Recompute>> recomputations(SearchWork& work) {
  if (work.request().recompute) return {work.recompute()};
  std::vector<std::vector<Recompute>> all{{}};
  for (const Recompute choice : {Recompute::full, Recompute::attention}) {
    all.push_back(work.everywhere(choice));
    work.recompute(all.back());
    if (!computes_again(work.graph(work.microbatch_counts().front()))) all.pop_back();
  }
  return all;
}

/// Counted out where choices are few, otherwise searched.
TierResult search_all(
    SearchWork& work, const std::function<void(double seconds)>& rated = [](double) {}) {
  const std::vector<std::vector<Recompute>> all = recomputations(work);
  std::vector<Recompute> kinds;
  for (const auto& recompute : all) {
    kinds.push_back(recompute.empty() ? Recompute::none : recompute.front());
  }
  work.recompute(all.front());
  offer_seeds(work);
  TierResult result;
  if (const auto exact = exact_search(work, kinds)) result = *exact;
  if (!result.complete) {
    result.lower_bound = std::max(result.lower_bound, wide_search(work, all, rated).lower_bound);
  }
  if (work.has_best()) {
    work.recompute(recompute_of(*work.best()));
  } else if (!work.request().recompute) {
    work.recompute(work.everywhere(Recompute::full));
  }
  return result;
}

/// Whether one copy of everything is more than all devices hold together; of models whose search
/// takes long. No plan fits then, whatever is computed again in which layer.
bool is_too_large(SearchWork& work) {
  if (!ties(work, work.microbatch_counts().front()) || !work.request().seeds.empty()) return false;
  const auto before = work.recompute();
  const int microbatches = work.microbatch_counts().back();  // the smallest stash
  std::vector<double> least(static_cast<std::size_t>(work.layers()),
                            std::numeric_limits<double>::infinity());
  for (const auto& recompute : recomputations(work)) {
    work.recompute(recompute);
    const LeastBytes bytes({&work.graph(microbatches)}, work.line(), microbatches, true);
    for (int l = 0; l < work.layers(); ++l) {
      double& of_layer = least[static_cast<std::size_t>(l)];
      of_layer = std::min(of_layer, bytes.of(l, l, 1));
    }
  }
  work.recompute(before);
  double room = 0.0;
  for (int d = 0; d < work.devices(); ++d) {
    room += static_cast<double>(work.capacity(d, DeviceMesh{{1}}).value);
  }
  return std::accumulate(least.begin(), least.end(), 0.0) > room;
}

/// Where nothing fits.
/// @param too_large whatever is chosen: then only what keeps least for backward is looked at
void look_for_the_smallest(SearchWork& work, bool too_large) {
  search_least_memory(work);
  if (const auto& least = work.least_memory_plan()) {
    work.make_whole_graph_ahead(least->plan.num_microbatches);
  }
  if (!ties(work, work.microbatch_counts().front()) || !work.request().seeds.empty()) return;
  if (too_large) return offer_small_plans_by_hand(work);
  const auto before = work.recompute();
  for (const auto& recompute : recomputations(work)) {
    work.recompute(recompute);
    offer_small_plans_by_hand(work);
  }
  work.recompute(before);
}

/// A closer bound of the whole space, whatever is computed again.
class CloserBound {
 public:
  explicit CloserBound(SearchWork& work)
      : work_(work), of_search_(work.stop(), [this] { stop_.request_stop(); }) {}
  /// What was begun and is not wanted, as nothing fits, ends soon.
  ~CloserBound() { stop_.request_stop(); }
  CloserBound(const CloserBound&) = delete;
  CloserBound& operator=(const CloserBound&) = delete;

  /// Begins on another thread, with about what the best plan will take.
  void begin(double seconds) {
    if (ahead_.valid()) return;
    ahead_ = std::async(
        std::launch::async, [beside = work_.beside(stop_.get_token()), seconds]() mutable {
          auto bound = std::make_unique<Ahead>(Ahead{std::move(beside), nullptr});
          bound->bound = std::make_unique<SpaceBound>(*bound->work, choices(*bound->work), true);
          (void)bound->bound->below(kBeside * seconds);
          return bound;
        });
  }

  /// Of the best plan; 0 if there is no time for it.
  /// @param fills without: also of pipelines that do other work while they fill
  [[nodiscard]] double of_best(bool fills) {
    if (work_.request().stop.stop_requested()) return 0.0;
    const SearchWork::Clock clock(work_, "bound");
    const double price = work_.best_time() - work_.norm();
    if (!fills || !ahead_.valid()) {
      return SpaceBound(work_, choices(work_), fills).below(price) + work_.norm();
    }
    return ahead_.get()->bound->below(price) + work_.norm();
  }

 private:
  struct Ahead {
    std::unique_ptr<SearchWork> work;
    std::unique_ptr<SpaceBound> bound;
  };

  static std::vector<std::vector<Recompute>> choices(const SearchWork& work) {
    if (work.request().recompute) return {work.everywhere(*work.request().recompute)};
    std::vector<std::vector<Recompute>> all;
    for (const Recompute choice : {Recompute::none, Recompute::attention, Recompute::full}) {
      all.push_back(work.everywhere(choice));
    }
    return all;
  }

  SearchWork& work_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> of_search_;  ///< hands its stop on
  std::future<std::unique_ptr<Ahead>> ahead_;
};

}  // namespace

double SearchResult::gap() const {
  const double time = price.step_time.value;
  return plan && time > 0.0 ? std::max(0.0, 1.0 - lower_bound / time) : 0.0;
}

SearchResult search(const SearchRequest& request) {
  SearchWork work(request);
  const auto start = work.recompute();
  CloserBound closer(work);
  TierResult tier;
  bool in_space = true;
  const bool too_large = !request.constraints.plan && is_too_large(work);
  do {
    work.recompute(start);
    if (too_large) {
      tier = {true, std::numeric_limits<double>::infinity()};
      if (!request.recompute) work.recompute(work.everywhere(Recompute::full));
    } else {
      tier = request.constraints.plan
                 ? fixed_plan(work)
                 : search_all(work, [&](double seconds) { closer.begin(seconds); });
    }
    if (!work.has_best() && !request.constraints.plan) look_for_the_smallest(work, too_large);
    offer_deeper(work);
    in_space = !offer_more_schedules(work, [](SearchWork& other) { (void)search_all(other); });
  } while (!work.confirm_best());
  SearchResult result;
  result.plan = work.unfold(work.best());
  result.price = work.best_price();
  result.lower_bound = tier.lower_bound;
  if (!request.constraints.plan && !in_space) {
    result.lower_bound = std::min(result.lower_bound, bound_of_any_schedule(work) + work.norm());
    if (work.best()->plan.schedule == PipelineKind::zero_bubble) {
      result.lower_bound = std::max(result.lower_bound, closer.of_best(false));
    }
  } else if (work.has_best() && !request.constraints.plan && !tier.complete) {
    result.lower_bound = std::max(result.lower_bound, closer.of_best(true));
  }
  if (work.has_best()) result.lower_bound = std::min(result.lower_bound, work.best_time());
  result.ilp_problems = work.problems();
  result.distinct_subproblems = work.distinct();
  result.stopped = work.reason();
  if (!result.plan) {
    result.least_memory = work.least_memory();
    result.least_memory_plan = work.unfold(work.least_memory_plan());
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
