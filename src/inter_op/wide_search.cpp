#include "wide_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/plan/methods.hpp"

#include "kernel_bound.hpp"
#include "layer_tables.hpp"
#include "stage_solver.hpp"
#include "structure_programme.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const MethodPrice kNoMethodPrice{{std::numeric_limits<std::int64_t>::max()}, {kInfinity}};
constexpr std::size_t kMostDrafts = 8;   ///< that are chosen, priced and packed
constexpr double kFarAbove = 1.25;       ///< of the best price: not worth choosing
constexpr double kPoor = 1.5;            ///< times its bound: plans by hand may be better
constexpr std::size_t kManyTables = 64;  ///< (numbers of microbatches x meshes)
constexpr std::size_t kManyOperators = 400;
constexpr int kMostMoves = 12;   ///< improvements of the best draft
constexpr int kMostLowered = 8;  ///< drafts
constexpr int kMostRounds = 3;
constexpr double kClose = 0.9995;  ///< to the best price: not worth lowering

/// Drafts that differ from one in one border, one mesh, the number of microbatches or the depth.
std::vector<Draft> neighbours(SearchWork& work, const Draft& draft) {
  std::vector<Draft> all;
  const auto stages = static_cast<int>(draft.stages.size());
  for (std::size_t s = 1; s < draft.stages.size(); ++s) {
    for (const int step : {-1, 1}) {
      Draft moved = draft;
      moved.stages[s - 1].last_layer += step;
      moved.stages[s].first_layer += step;
      const auto holds = [](const DraftStage& stage) {
        return stage.first_layer <= stage.last_layer;
      };
      if (holds(moved.stages[s - 1]) && holds(moved.stages[s])) all.push_back(std::move(moved));
    }
  }
  for (std::size_t s = 0; s < draft.stages.size(); ++s) {
    for (const DeviceMesh& mesh : work.meshes(num_devices(draft.stages[s].mesh))) {
      Draft other = draft;
      other.stages[s].mesh = mesh;
      if (other != draft) all.push_back(std::move(other));
    }
  }
  const auto& counts = work.microbatch_counts();
  const auto now = std::find(counts.begin(), counts.end(), draft.microbatches);
  const auto with_count = [&](int count) {
    Draft other = draft;
    other.microbatches = count;
    const auto schedules = work.schedules(stages, count);
    if (std::find(schedules.begin(), schedules.end(), draft.schedule) == schedules.end()) {
      other.schedule = schedules.front();
      other.warm_up.clear();
      if (other.schedule == PipelineKind::one_f_one_b) other.warm_up = least_warm_up(stages);
    }
    all.push_back(std::move(other));
  };
  if (now != counts.begin() && now != counts.end()) with_count(*(now - 1));
  if (now != counts.end() && now + 1 != counts.end()) with_count(*(now + 1));
  if (draft.schedule == PipelineKind::one_f_one_b && stages > 1) {
    Draft deep = draft;
    for (int s = 0; s < stages; ++s)
      deep.warm_up[static_cast<std::size_t>(s)] = 2 * (stages - s) - 1;
    if (deep != draft) all.push_back(std::move(deep));
  }
  return all;
}

/// Drafts by what their figures come to.
using Modelled = std::multimap<double, Draft>;

/// Goes from the best draft to the best of its neighbours as long as that is better.
void climb(SearchWork& work, StageSolver& solver, Modelled& drafts) {
  std::set<std::string> seen;
  for (const auto& [time, draft] : drafts) seen.insert(key_of(draft));
  for (int move = 0; move < kMostMoves && !drafts.empty(); ++move) {
    const double before = drafts.begin()->first;
    const Draft from = drafts.begin()->second;
    for (const Draft& next : neighbours(work, from)) {
      if (work.stopped()) return;
      if (!seen.insert(key_of(next)).second) continue;
      work.tell("neighbours", static_cast<double>(move) / kMostMoves);
      if (const auto time = solver.modelled(next)) drafts.emplace(*time, next);
    }
    if (drafts.begin()->first >= before) break;
  }
}

/// Lowers and packs the best until no other can be better by much.
void confirm(SearchWork& work, StageSolver& solver, const Modelled& drafts) {
  int lowered = 0;
  for (const auto& [time, draft] : drafts) {
    if (work.stopped() || lowered == kMostLowered) break;
    if (time >= work.best_time() * kClose) break;
    work.tell("prices", static_cast<double>(lowered) / kMostLowered);
    (void)solver.offer(draft);
    ++lowered;
  }
}

}  // namespace

double work_bound(SearchWork& work) {
  double least = kInfinity;
  for (const int microbatches : work.microbatch_counts()) {
    const KernelBound kernels(work.graph(microbatches), work.cluster(), microbatches);
    // One device reaches the best rates: n of them take no less than an n-th of its time.
    least = std::min(least, kernels.step(1).back() / work.devices());
  }
  return least;
}

namespace {

/// Looks at numbers of microbatches. Where there is much to do: at every second one first, then at
/// those beside the best, and at all sizes of submeshes for the best number only; in large graphs
/// at meshes of one axis, others being left to `climb`.
class Scan {
 public:
  Scan(SearchWork& work, LayerTables& tables) : work_(work), tables_(tables) {}

  std::vector<RatedDraft> run() {
    const auto& counts = work_.microbatch_counts();
    std::set<std::string> meshes;
    for (const int size : submesh_sizes(work_.cluster(), 0)) {
      for (const DeviceMesh& mesh : work_.meshes(size)) meshes.insert(work_.costs(0, mesh).key());
    }
    const bool large = work_.graph(counts.front()).operators.size() > kManyOperators;
    const bool much = large || counts.size() * meshes.size() > kManyTables;
    const Sizes sizes{.regular = much, .one_axis = large};
    for (std::size_t b = 0; b < counts.size(); b += much ? 2 : 1) look(b, sizes);
    while (much && !work_.stopped()) {
      const std::size_t best = best_;
      if (best > 0) look(best - 1, sizes);
      if (best + 1 < counts.size()) look(best + 1, sizes);
      if (best_ == best) break;
    }
    if (much) {
      looked_.clear();
      look(best_, {.regular = false, .one_axis = large});
    }
    std::stable_sort(drafts_.begin(), drafts_.end(),
                     [](const RatedDraft& a, const RatedDraft& b) { return a.time < b.time; });
    std::vector<RatedDraft> distinct;
    std::set<std::string> keys;
    for (RatedDraft& draft : drafts_) {
      if (keys.insert(key_of(draft.draft)).second) distinct.push_back(std::move(draft));
    }
    return distinct;
  }

 private:
  void look(std::size_t b, Sizes sizes) {
    if (work_.stopped() || !looked_.insert(b).second) return;
    const auto& counts = work_.microbatch_counts();
    work_.tell("stages", static_cast<double>(looked_.size()) / static_cast<double>(counts.size()));
    for (const PipelineKind schedule : work_.schedules(work_.stage_counts().second, counts[b])) {
      for (RatedDraft& draft : rated_drafts(work_, tables_, counts[b], schedule, sizes)) {
        if (draft.time < least_) {
          least_ = draft.time;
          best_ = b;
        }
        drafts_.push_back(std::move(draft));
      }
    }
  }

  SearchWork& work_;
  LayerTables& tables_;
  std::set<std::size_t> looked_;
  std::vector<RatedDraft> drafts_;
  double least_ = kInfinity;
  std::size_t best_ = 0;  ///< place of the best draft's number of microbatches
};

}  // namespace

namespace {

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
  return parallel;
}

/// Plans by hand, each offered as it is priced: they are plans of the space too, and where choices
/// are hard to find, they are a beginning.
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
        return work.graph(static_cast<int>(request.global_batch / microbatch));
      });
    } catch (const PlanError&) {  // too few layers or samples, or not what is asked for
    }
  }
}

/// Whether there is a plan, with what is computed again now or near the bound of all that do so.
bool has_beginning(const SearchWork& work, double bound) {
  const auto& seeds = work.request().seeds;
  const bool is_given = std::any_of(seeds.begin(), seeds.end(), [&](const Plan& seed) {
    return seed.recompute == work.recompute();
  });
  if (is_given || !work.has_best()) return is_given;
  return work.best()->recompute == work.recompute() || work.best_time() < kPoor * bound;
}

}  // namespace

TierResult wide_search(SearchWork& work) {
  TierResult result;
  result.lower_bound = work_bound(work);
  LayerTables tables(work);
  StageSolver solver(work);
  const double before = work.best_time();
  bool again = true;
  work.packing(Bytes{0});
  for (int round = 0; again && round < kMostRounds; ++round) {
    Modelled modelled;
    std::size_t tried = 0;
    for (const RatedDraft& draft : Scan(work, tables).run()) {
      if (work.stopped() || tried == kMostDrafts) break;
      const double best = modelled.empty() ? work.best_time() : modelled.begin()->first;
      if (draft.time > best * kFarAbove) break;
      work.tell("plans", static_cast<double>(tried) / kMostDrafts);
      if (const auto time = solver.modelled(draft.draft)) modelled.emplace(*time, draft.draft);
      ++tried;
    }
    climb(work, solver, modelled);
    confirm(work, solver, modelled);
    // Where nothing better was found because nothing fits, packing takes more than figures say.
    again = work.best_time() >= before && solver.learn_packing();
  }
  if (!has_beginning(work, result.lower_bound)) offer_plans_by_hand(work);
  result.lower_bound = std::min(result.lower_bound + work.norm(), work.best_time());
  return result;
}

void search_least_memory(SearchWork& work) {
  StageSolver solver(work);
  const auto [fewest, most] = work.stage_counts();
  for (const int microbatches :
       {work.microbatch_counts().back(), work.microbatch_counts().front()}) {
    for (int stages = fewest; stages <= most; stages = stages < 2 ? stages + 1 : stages * 2) {
      const int size = work.devices() / stages;
      Draft draft;
      draft.microbatches = microbatches;
      draft.schedule = work.schedules(stages, microbatches).front();
      if (draft.schedule == PipelineKind::one_f_one_b) draft.warm_up = least_warm_up(stages);
      for (int s = 0; s < stages; ++s) {
        draft.stages.push_back({work.layers() * s / stages, work.layers() * (s + 1) / stages - 1,
                                s * size, DeviceMesh{}});
      }
      const auto placed = [&](const DraftStage& stage) {
        const auto sizes = submesh_sizes(work.cluster(), stage.first_device);
        return std::find(sizes.begin(), sizes.end(), size) != sizes.end();
      };
      if (!std::all_of(draft.stages.begin(), draft.stages.end(), placed)) continue;
      for (const DeviceMesh& mesh : work.meshes(size)) {
        if (work.request().stop.stop_requested()) return;
        for (DraftStage& stage : draft.stages) stage.mesh = mesh;
        solver.offer_smallest(draft);
      }
    }
  }
}

}  // namespace alpa
