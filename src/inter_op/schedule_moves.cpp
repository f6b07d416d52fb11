#include "schedule_moves.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "alpa/base/error.hpp"
#include "alpa/schedule/schedule.hpp"

#include "kernel_bound.hpp"
#include "warm_up.hpp"

namespace alpa {
namespace {

constexpr int kMostAttempts = 3;             ///< to find a depth that fits
constexpr std::size_t kFewOperators = 1500;  ///< where searching twice takes little

int layers_of(const StagePlan& stage) {
  int layers = 0;
  for (const auto& [first, last] : stage.chunks) layers += last - first + 1;
  return layers;
}

bool alike_meshes(const Plan& plan) {
  return std::all_of(plan.stages.begin(), plan.stages.end(), [&](const StagePlan& stage) {
    return stage.mesh == plan.stages.front().mesh;
  });
}

/// Layers of chunk c where stages keep their numbers of layers, those of a stage in equal parts.
int chunk_size(const Plan& plan, int chunks, int c) {
  const int stages = static_cast<int>(plan.stages.size());
  const int layers = layers_of(plan.stages[static_cast<std::size_t>(c % stages)]);
  const int round = c / stages;
  return layers * (round + 1) / chunks - layers * round / chunks;
}

/// With the chunks of the line's layers.
Plan of_line(const FoldedPlan& folded) {
  Plan plan = folded.plan;
  for (StagePlan& stage : plan.stages) {
    for (auto& [first, last] : stage.chunks) {
      first = folded.line.layer_of(first);
      last = folded.line.layer_of(last);
    }
  }
  return plan;
}

/// Nothing where a stage has fewer layers than chunks.
/// @param plan of the line's layers
std::optional<Plan> chunked_stages(const Plan& plan, int chunks) {
  const int stages = static_cast<int>(plan.stages.size());
  Plan made = plan;
  made.schedule = PipelineKind::interleaved;
  made.warm_up.clear();
  for (StagePlan& stage : made.stages) {
    if (layers_of(stage) < chunks) return std::nullopt;
    stage.chunks.clear();
  }
  int layer = 0;
  for (int c = 0; c < stages * chunks; ++c) {
    const int size = chunk_size(plan, chunks, c);
    made.stages[static_cast<std::size_t>(c % stages)].chunks.emplace_back(layer, layer + size - 1);
    layer += size;
  }
  return made;
}

/// Stages with the chunks of the line's layers; layers choose as they did.
FoldedPlan interleaved_plan(SearchWork& work, const FoldedPlan& folded, const Plan& chunked) {
  std::map<std::pair<int, int>, int> numbers;  // like layers that are in one chunk
  std::vector<int> kinds;
  for (int l = 0; l < folded.line.length(); ++l) {
    const auto next = static_cast<int>(numbers.size());
    const std::pair kind(folded.line.like(l), chunk_of_layer(chunked, l));
    kinds.push_back(numbers.try_emplace(kind, next).first->second);
  }
  const LayerLine line =
      folded.line.is_whole() ? LayerLine(folded.line.length()) : counted_line(kinds);
  const Graph graph = work.graph_of(folded);  // a copy: another one is asked for
  const Graph& other = work.graph_of(line, chunked.num_microbatches, recompute_of(folded));
  Plan to = chunked;
  to.recompute = other.recompute;
  for (StagePlan& stage : to.stages) {
    stage.strategies.clear();
    stage.retention.clear();
    stage.arrivals.clear();
    for (auto& [first, last] : stage.chunks) {
      first = line.like(first);
      last = line.like(last);
    }
  }
  return {with_choices_of(folded, graph, std::move(to), other, line), line};
}

/// The pipeline's part of the price, with the times of the plan's stages shared out by layers and
/// the longest of its transfers between any two chunks.
Seconds estimated_pipeline(const Plan& plan, const PlanPrice& price, int chunks) {
  const int stages = static_cast<int>(plan.stages.size());
  std::vector<ChunkTimes> times;
  for (int c = 0; c < stages * chunks; ++c) {
    const auto s = static_cast<std::size_t>(c % stages);
    const double share = 1.0 * chunk_size(plan, chunks, c) / layers_of(plan.stages[s]);
    times.push_back({price.stages[s].forward * share, price.stages[s].backward * share, {}});
  }
  std::vector<StageTransfer> transfers;
  for (const bool backward : {false, true}) {
    Seconds longest{0.0};
    for (const StageTransfer& t : price.transfers) {
      if (t.backward == backward) longest = std::max(longest, t.time);
    }
    for (int c = 0; c + 1 < stages * chunks; ++c) {
      transfers.push_back({backward ? c + 1 : c, backward ? c : c + 1, backward, longest});
    }
  }
  return makespan(interleaved(stages, chunks, plan.num_microbatches), times, transfers);
}

/// The plan with another schedule: nothing where it cannot have it.
using Reschedule = std::function<std::optional<FoldedPlan>(SearchWork&, const FoldedPlan&)>;

Reschedule with_chunks(int chunks) {
  return [chunks](SearchWork& work, const FoldedPlan& folded) -> std::optional<FoldedPlan> {
    const auto chunked = chunked_stages(of_line(folded), chunks);
    if (!chunked) return std::nullopt;
    return interleaved_plan(work, folded, *chunked);
  };
}

std::optional<FoldedPlan> zero_bubble_plan(SearchWork&, const FoldedPlan& folded) {
  FoldedPlan made = folded;
  made.plan.schedule = PipelineKind::zero_bubble;
  made.plan.warm_up.clear();
  return made;
}

/// True if the plan is the best now.
bool offer(SearchWork& work, const FoldedPlan& folded, const Reschedule& reschedule,
           int microbatches) {
  if (work.request().stop.stop_requested()) return false;
  auto made = reschedule(work, folded);
  if (!made) return false;
  made->plan.num_microbatches = microbatches;
  const Graph& graph = work.graph_of(*made);
  try {
    validate(made->plan, graph);
  } catch (const PlanError&) {  // a microbatch is too small for a strategy
    return false;
  }
  if (!meets(made->plan, graph, work.request().constraints)) return false;
  const double before = work.best_time();
  (void)work.offer(*made);
  return work.best_time() < before;
}

/// What is best of several numbers of chunks, if any is better than the best.
std::optional<Reschedule> offer_chunks(SearchWork& work, const FoldedPlan& folded,
                                       const PlanPrice& price) {
  const Plan plan = of_line(folded);
  if (!alike_meshes(plan)) return std::nullopt;
  std::optional<Reschedule> best;
  for (int chunks = 2;; ++chunks) {
    const bool has_layers =
        std::all_of(plan.stages.begin(), plan.stages.end(),
                    [&](const StagePlan& stage) { return layers_of(stage) >= chunks; });
    if (!has_layers || estimated_pipeline(plan, price, chunks) >= work.best_price().pipeline) break;
    if (!offer(work, folded, with_chunks(chunks), plan.num_microbatches)) break;
    best = with_chunks(chunks);
  }
  return best;
}

/// Most depth of each stage for which the arenas have room, as their stash counts a microbatch.
std::vector<int> most_depth(SearchWork& work, const Plan& plan, const PlanPrice& price) {
  const Draft draft = draft_of(plan);
  std::vector<int> most =
      useful_warm_up(static_cast<int>(plan.stages.size()), plan.num_microbatches);
  for (std::size_t s = 0; s < most.size(); ++s) {
    const DraftStage& stage = draft.stages[s];
    const Bytes room = work.capacity(stage.first_device, stage.mesh) - price.arenas[s];
    const auto stash = price.totals[s].memory[static_cast<std::size_t>(MemoryClass::stash)].value;
    const std::int64_t each = std::max<std::int64_t>(1, stash / in_flight(draft, s));
    const auto more = std::min<std::int64_t>(room.value / each, most[s]);
    const int depth = draft.warm_up[s] + static_cast<int>(more);
    if (depth < most[s] && !shallower(most, s, depth)) return draft.warm_up;
  }
  return most;
}

/// Whether every stage has room for the stashes that zero_bubble holds on each; what lives within a
/// segment left out. A value that waits for a message has a slot more than microbatches in flight.
bool may_fit_zero_bubble(SearchWork& work, const Plan& plan, const PlanPrice& price) {
  const Draft draft = draft_of(plan);
  const int held = std::min(static_cast<int>(plan.stages.size()), plan.num_microbatches);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const auto of_class = [&](MemoryClass c) {
      return price.totals[s].memory[static_cast<std::size_t>(c)];
    };
    const Bytes each{of_class(MemoryClass::stash).value / (in_flight(draft, s) + 1)};
    const Bytes least = of_class(MemoryClass::parameters) + of_class(MemoryClass::gradients) +
                        of_class(MemoryClass::optimizer) + each * held;
    if (least > work.capacity(draft.stages[s].first_device, draft.stages[s].mesh)) return false;
  }
  return true;
}

bool offer_schedules_of(SearchWork& work, const FoldedPlan& folded, const PlanPrice& price) {
  std::optional<Reschedule> best;
  const int count = folded.plan.num_microbatches;
  if (may_fit_zero_bubble(work, folded.plan, price) &&
      offer(work, folded, zero_bubble_plan, count)) {
    best = zero_bubble_plan;
  }
  if (const auto chunks = offer_chunks(work, folded, price)) best = chunks;
  if (!best) return false;
  const auto& counts = work.microbatch_counts();
  const auto here = std::find(counts.begin(), counts.end(), count);
  auto fewer = here;
  while (fewer != counts.begin() && offer(work, folded, *best, *(fewer - 1))) --fewer;
  if (fewer != here) return true;
  for (auto more = here; more + 1 != counts.end() && offer(work, folded, *best, *(more + 1));) {
    ++more;
  }
  return true;
}

bool may_change_schedule(const SearchWork& work) {
  const SearchConstraints& constraints = work.request().constraints;
  return work.request().more_schedules && !constraints.plan && !constraints.schedule &&
         !constraints.warm_up && work.has_best() && work.best()->plan.stages.size() > 1;
}

}  // namespace

void offer_deeper(SearchWork& work) {
  if (!work.has_best() || !work.deepens() || work.request().constraints.plan) return;
  const FoldedPlan folded = *work.best();
  const Plan& plan = folded.plan;
  const PlanPrice price = work.best_price();
  if (plan.schedule != PipelineKind::one_f_one_b || plan.stages.size() < 2) return;
  const SteadyState steady(price.stages, price.transfers);
  const Draft now = draft_of(plan);
  if (!deeper_pays(steady, now.warm_up)) return;
  std::vector<int> most = most_depth(work, plan, price);
  const auto modelled = [&](const Draft& draft) {
    return modelled_price(work.cluster(), draft, price.stages, price.transfers);
  };
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    if (work.request().stop.stop_requested()) return;
    Draft deep = now;
    deep.warm_up = steady.least_depths(most);
    if (steady.period(deep.warm_up) >= steady.period(now.warm_up) ||
        modelled(deep) >= modelled(now)) {
      return;
    }
    FoldedPlan made = folded;
    made.plan.warm_up = deep.warm_up;
    const auto offered = work.offer(made);
    if (offered.fits) return;
    for (std::size_t s = 0; s < most.size(); ++s) {
      if (offered.over[s] > Bytes{0} && !shallower(most, s, deep.warm_up[s] - 1)) return;
    }
  }
}

bool offer_more_schedules(SearchWork& work, const std::function<void(SearchWork&)>& space) {
  if (!may_change_schedule(work)) return false;
  const FoldedPlan folded = *work.best();
  const Plan& plan = folded.plan;
  const PlanPrice price = work.best_price();
  bool found = false;
  const bool deep = plan.schedule == PipelineKind::one_f_one_b &&
                    draft_of(plan).warm_up != least_warm_up(static_cast<int>(plan.stages.size()));
  work.recompute(recompute_of(folded));
  if (deep && work.operators(plan.num_microbatches) <= kFewOperators) {
    // The other schedules wait for messages as the least depth does: what suits that suits them.
    SearchRequest shallow = work.request();
    shallow.constraints.warm_up = LeastDepth{};
    shallow.more_schedules = false;
    SearchWork least(shallow);
    space(least);
    work.solved("least depth", least.problems());
    if (least.has_best() && least.best()->plan.stages.size() > 1) {
      found = offer_schedules_of(work, *least.best(), least.best_price());
    }
  }
  return offer_schedules_of(work, folded, price) || found;
}

double bound_of_any_schedule(SearchWork& work) {
  if (!work.request().recompute) work.recompute({});  // computing again only adds kernels
  return work_bound(work);
}

}  // namespace alpa
