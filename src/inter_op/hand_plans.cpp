#include "hand_plans.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/inter_op/plan_models.hpp"
#include "alpa/plan/methods.hpp"

#include "drafts.hpp"
#include "least_bytes.hpp"

namespace alpa {
namespace {

const MethodPrice kNoMethodPrice{{std::numeric_limits<std::int64_t>::max()},
                                 {std::numeric_limits<double>::infinity()}};

/// What is asked for, as methods by hand read it.
ParallelConfig parallel_of(const SearchConstraints& constraints) {
  ParallelConfig parallel;
  parallel.microbatches = constraints.microbatches;
  parallel.stages = constraints.stages;
  if (constraints.logical_mesh) {
    parallel.logical_mesh.emplace(constraints.logical_mesh->begin(),
                                  constraints.logical_mesh->end());
  }
  if (constraints.schedule) {
    parallel.schedule = *constraints.schedule == PipelineKind::gpipe
                            ? PipelineSchedule::gpipe
                            : PipelineSchedule::one_forward_one_backward;
  }
  parallel.warm_up = constraints.warm_up;
  return parallel;
}

MethodRequest request_of(const SearchWork& work, Method method) {
  MethodRequest request;
  request.parallel = parallel_of(work.request().constraints);
  request.parallel.method = method;
  request.world_size = work.devices();
  request.global_batch = work.request().global_batch;
  request.samples_of_group = work.request().samples_of_group;
  return request;
}

constexpr std::array kMethods = {Method::data,      Method::zero1,      Method::zero2,
                                 Method::zero3,     Method::intra_only, Method::inter_only,
                                 Method::pipedream, Method::heuristic,  Method::megatron};

/// Memory of plans by hand on the layers that the search's graphs hold.
class HandMemory {
 public:
  explicit HandMemory(SearchWork& work) : work_(work), models_(work.cluster(), work.line()) {}

  /// Of the largest stage, and what all are short of together with the time.
  struct Needs {
    Bytes largest{0};
    MethodPrice price;
  };
  Needs needs(const Graph& graph, const Plan& plan) {
    const Draft draft = draft_of(plan);
    const auto kept = least_
                          .try_emplace(plan.num_microbatches, std::vector<const Graph*>{&graph},
                                       work_.line(), plan.num_microbatches, true)
                          .first;
    std::vector<Bytes> bytes;
    for (std::size_t s = 0; s < draft.stages.size(); ++s) {
      const DraftStage& stage = draft.stages[s];
      const double all = kept->second.of(stage.first_layer, stage.last_layer, in_flight(draft, s));
      bytes.push_back({static_cast<std::int64_t>(all / num_devices(stage.mesh))});
    }
    Needs found = compare(draft, bytes);
    const Bytes least = work_.least_memory().value_or(Bytes{0});
    if (found.price.missing.value > 0 && found.largest >= least) return found;
    const ModelledPlan modelled = models_.of(graph, plan);
    if (!modelled.known) return found;  // the least is all that is known
    found = compare(draft, modelled.memory);
    found.price.step_time = modelled.step_time;
    return found;
  }

 private:
  Needs compare(const Draft& draft, const std::vector<Bytes>& bytes) {
    Needs found;
    for (std::size_t s = 0; s < bytes.size(); ++s) {
      const DraftStage& stage = draft.stages[s];
      const Bytes room = work_.capacity(stage.first_device, stage.mesh);
      found.largest = std::max(found.largest, bytes[s]);
      found.price.missing = std::max(found.price.missing, bytes[s] - room);
    }
    return found;
  }

  SearchWork& work_;
  PlanModels models_;
  std::map<int, LeastBytes> least_;  ///< by microbatches
};

}  // namespace

void offer_plans_by_hand(SearchWork& work) {
  const SearchWork::Clock clock(work, "plans by hand");
  for (const Method method : kMethods) {
    if (work.stopped()) return;
    MethodRequest request = request_of(work, method);
    request.price = [&](const Graph& graph, const Plan& plan) -> MethodPrice {
      if (!meets(plan, graph, work.request().constraints)) return kNoMethodPrice;
      const auto offered = work.offer(plan);
      return {*std::max_element(offered.over.begin(), offered.over.end()), offered.price.step_time};
    };
    try {
      (void)plan_by_method(request, [&](std::int64_t microbatch) {
        return work.whole_graph(static_cast<int>(request.global_batch / microbatch),
                                work.recompute());
      });
    } catch (const PlanError&) {  // too few layers or samples, or not what is asked for
    }
  }
}

void offer_small_plans_by_hand(SearchWork& work) {
  const SearchWork::Clock clock(work, "plans by hand");
  HandMemory memory(work);
  const auto graph = [&](int microbatches) -> const Graph& { return work.graph(microbatches); };
  for (const Method method : kMethods) {
    if (work.stopped()) return;
    MethodRequest request = request_of(work, method);
    if (!work.line().is_whole()) request.line = work.line();
    request.price = [&](const Graph& of, const Plan& plan) { return memory.needs(of, plan).price; };
    try {
      Plan plan = plan_by_method(request, [&](std::int64_t microbatch) {
        return graph(static_cast<int>(request.global_batch / microbatch));
      });
      const Graph& some = graph(plan.num_microbatches);
      const auto needs = memory.needs(some, plan);
      const bool smaller = !work.least_memory() || needs.largest < *work.least_memory();
      if (needs.price.missing.value > 0 && !smaller) continue;
      const Graph& whole = work.whole_graph(plan.num_microbatches, work.recompute());
      if (request.line) plan = for_all_layers(plan, some, work.line(), whole);
      validate(plan, whole);
      if (meets(plan, whole, work.request().constraints)) (void)work.offer(plan);
    } catch (const PlanError&) {  // too few layers or samples, or not what is asked for
    }
  }
}

}  // namespace alpa
