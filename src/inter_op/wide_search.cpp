#include "wide_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/graph/kernel_work.hpp"
#include "alpa/plan/methods.hpp"

#include "layer_tables.hpp"
#include "stage_solver.hpp"
#include "structure_programme.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const MethodPrice kNoMethodPrice{{std::numeric_limits<std::int64_t>::max()}, {kInfinity}};
constexpr std::size_t kMostDrafts = 8;   ///< that are chosen, priced and packed
constexpr double kFarAbove = 1.25;       ///< of the best price: not worth choosing
constexpr std::size_t kManyTables = 64;  ///< (numbers of microbatches x meshes)
constexpr std::size_t kManyOperators = 400;
constexpr int kMostMoves = 12;  ///< improvements of the best draft

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

void climb(SearchWork& work, StageSolver& solver) {
  std::set<std::string> seen;
  for (int move = 0; move < kMostMoves && work.has_best() && !work.stopped(); ++move) {
    const Draft from = draft_of(*work.best());
    const double before = work.best_time();
    for (const Draft& next : neighbours(work, from)) {
      if (work.stopped()) return;
      if (!seen.insert(key_of(next)).second) continue;
      work.tell("neighbours", static_cast<double>(move) / kMostMoves);
      (void)solver.offer(next);
    }
    if (work.best_time() >= before) break;
  }
}

}  // namespace

namespace {

/// FLOP/s that products of a kind reach at best: no piece of any size goes faster.
double fastest_rate(const DeviceKind& device, const std::string& kernel, DType dtype) {
  double best = 0.0;
  bool measured = false;
  for (const KernelTable& table : device.kernels) {
    if (table.kernel != kernel || table.dtype != dtype || !table.by_flops) continue;
    measured = true;
    for (const auto& [flops, seconds] : table.points) best = std::max(best, flops / seconds);
  }
  if (measured) return best;
  double share = device.product_efficiency.empty() ? 1.0 : 0.0;
  for (const auto& [flops, reached] : device.product_efficiency) share = std::max(share, reached);
  for (const auto& [type, rate] : device.peak_flops) {
    if (type == dtype) best = std::max(best, rate * share);
  }
  return best;
}

}  // namespace

double product_bound(SearchWork& work) {
  double least = kInfinity;
  std::vector<double> devices(work.cluster().kinds.size(), 0.0);
  for (const Host& host : work.cluster().hosts) {
    devices[static_cast<std::size_t>(host.kind)] += host.devices;
  }
  for (const int microbatches : work.microbatch_counts()) {
    const Graph& graph = work.graph(microbatches);
    double all = 0.0;
    for (const Operator& op : graph.operators) {
      const double flops = flops_of(op).value;
      if (flops <= 0.0 || (op.phase != Phase::forward && op.phase != Phase::backward)) continue;
      const DType dtype = graph.tensor(op.operands.front()).dtype;
      double together = 0.0;  // of all devices
      for (std::size_t k = 0; k < devices.size(); ++k) {
        const DeviceKind& kind = work.cluster().kinds[k];
        together += devices[k] * fastest_rate(kind, kernel_kind(op.kernel), dtype);
      }
      all += flops / together;
    }
    least = std::min(least, microbatches * all);
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

/// Plans by hand are plans of the space too: where choices are hard to find, they are a beginning.
void offer_plans_by_hand(SearchWork& work) {
  const SearchWork::Clock clock(work, "plans by hand");
  for (const Method method :
       {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::intra_only,
        Method::inter_only, Method::pipedream, Method::heuristic, Method::megatron}) {
    if (work.stopped()) return;
    MethodRequest request;
    request.parallel.method = method;
    request.parallel.microbatches = work.request().constraints.microbatches;
    request.world_size = work.devices();
    request.global_batch = work.request().global_batch;
    request.price = [&](const Graph& graph, const Plan& plan) -> MethodPrice {
      if (!meets(plan, graph, work.request().constraints)) return kNoMethodPrice;
      const auto offered = work.offer(plan);
      return {*std::max_element(offered.over.begin(), offered.over.end()), offered.price.step_time};
    };
    try {
      const Plan plan = plan_by_method(request, [&](std::int64_t microbatch) {
        return work.graph(static_cast<int>(request.global_batch / microbatch));
      });
      const Graph& graph = work.graph(plan.num_microbatches);
      if (meets(plan, graph, work.request().constraints)) (void)work.offer(plan);
    } catch (const PlanError&) {  // too few layers or samples for it
    }
  }
}

}  // namespace

TierResult wide_search(SearchWork& work) {
  TierResult result;
  result.lower_bound = product_bound(work);
  if (work.request().seeds.empty()) offer_plans_by_hand(work);
  LayerTables tables(work);
  StageSolver solver(work);
  const std::vector<RatedDraft> drafts = Scan(work, tables).run();
  std::size_t tried = 0;
  for (const RatedDraft& draft : drafts) {
    if (work.stopped() || tried == kMostDrafts) break;
    if (work.has_best() && draft.time > work.best_time() * kFarAbove) break;
    work.tell("plans", static_cast<double>(tried) / kMostDrafts);
    (void)solver.offer(draft.draft);
    ++tried;
  }
  climb(work, solver);
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
