#include "hand_plans.hpp"

#include <algorithm>
#include <limits>

#include "alpa/base/error.hpp"
#include "alpa/plan/methods.hpp"

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

}  // namespace

void offer_plans_by_hand(SearchWork& work) {
  const SearchWork::Clock clock(work, "plans by hand");
  for (const Method method :
       {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::intra_only,
        Method::inter_only, Method::pipedream, Method::heuristic, Method::megatron}) {
    if (work.stopped()) return;
    MethodRequest request;
    request.parallel = parallel_of(work.request().constraints);
    request.parallel.method = method;
    request.world_size = work.devices();
    request.global_batch = work.request().global_batch;
    request.samples_of_group = work.request().samples_of_group;
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

}  // namespace alpa
