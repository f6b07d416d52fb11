#include "space_bound.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "kernel_bound.hpp"
#include "layer_tables.hpp"
#include "least_bytes.hpp"
#include "pipeline_bound.hpp"
#include "side_by_side.hpp"
#include "space_family.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMostSolved = 12'000;  ///< layers, on few devices
constexpr int kFewDevices = 8;       ///< of more there are more meshes, larger ones: less is solved
constexpr int kFewKinds = 4;         ///< of layers: of more there is more to solve
constexpr int kFewestSolved = 60;
constexpr int kWorkOfTwoAxes = 4;  ///< of a layer, to one on a mesh of one axis
constexpr int kMostLayers = 128;   ///< of models that are looked at so closely
constexpr double kEnough = 0.999;  ///< of the price: proved
constexpr double kAlike = 1.02;    ///< bounds of numbers of microbatches that may stand for another
constexpr double kAhead = 1.04;    ///< of a family's bound: what is looked for at once
constexpr int kSweeps = 16;        ///< of message passing over a layer
constexpr int kMostCells = 8'192;  ///< layers times devices: of more depths take too much work
constexpr double kLittleStash = 0.002;  ///< of all room, for a microbatch: not worth a depth

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Of layers of few kinds others share what is learnt.
int most_solved(SearchWork& work, int first_device, const DeviceMesh& mesh) {
  const StageModel& model = work.model(work.microbatch_counts().front(), first_device, mesh);
  const std::set<int> kinds(model.layer_classes().begin(), model.layer_classes().end());
  const double more_kinds = std::max(1.0, static_cast<double>(kinds.size()) / kFewKinds);
  const double more = std::max(1.0, static_cast<double>(work.devices()) / kFewDevices);
  return std::max(kFewestSolved, static_cast<int>(kMostSolved * more_kinds / std::pow(more, 1.3)));
}

/// Numbers of stages, from a stage to the last, that are told apart: one between two of them counts
/// as the smaller, and all from `most` on as one.
std::vector<int> depth_classes(int most, bool exactly) {
  constexpr int kEach = 16;   // all of those
  constexpr int kOfEach = 4;  // steps to the double above
  std::vector<int> depths{1};
  while (depths.back() < most) {
    const int last = depths.back();
    depths.push_back(exactly || last < kEach ? last + 1 : last + std::max(1, last / kOfEach));
  }
  return depths;
}

/// Whether a kernel takes no longer on twice the work than twice on the work: measured times need
/// not.
bool rates_grow(const ClusterSpec& cluster) {
  return std::all_of(cluster.kinds.begin(), cluster.kinds.end(), [](const DeviceKind& kind) {
    return kind.kernels.empty() &&
           std::is_sorted(kind.product_efficiency.begin(), kind.product_efficiency.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
  });
}

/// For each number of microbatches one that divides it, whose plans take no longer: two
/// microbatches that become one take no more time than both.
std::map<int, int> representatives(const std::vector<int>& counts, bool together) {
  std::map<int, int> of;
  std::vector<int> chosen;
  for (const int count : counts) {
    const auto fits = [&](int r) { return together && count % r == 0 && count <= r * kMostJoined; };
    const auto found = std::find_if(chosen.rbegin(), chosen.rend(), fits);
    of[count] = found == chosen.rend() ? count : *found;
    if (of[count] == count) chosen.push_back(count);
  }
  return of;
}

}  // namespace

SpaceBound::SpaceBound(SearchWork& work, const std::vector<std::vector<Recompute>>& recomputations,
                       bool fills)
    : work_(work),
      recomputations_(recomputations),
      fills_(fills),
      most_(kFewestSolved),
      together_(rates_grow(work.cluster()) && !work.stage_constraints().strategies &&
                !work.stage_constraints().retentions) {
  if (work.layers() > kMostLayers) return;
  const SearchWork::Clock clock(work_, "bound");
  std::map<int, std::map<std::string, std::pair<int, DeviceMesh>>> sizes;
  std::map<int, std::vector<int>> places;
  for (int d = 0; d < work.devices(); ++d) {
    for (const int size : submesh_sizes(work.cluster(), d)) {
      for (const DeviceMesh& mesh : work.meshes(size)) {
        sizes[size].try_emplace(work.costs(d, mesh).key(), d, mesh);
      }
      if (sizes.contains(size)) places[size].push_back(d);
    }
  }
  if (!sizes.empty()) {
    const auto& [place, smallest] = sizes.begin()->second.begin()->second;
    most_ = most_solved(work, place, smallest);
  }
  for (const auto& recompute : recomputations) {
    work.make_graphs(recompute);
    const Graph& graph = work.graph(work.microbatch_counts().front(), recompute);
    std::vector<bool> copies(at(graph.num_layers), false);
    for (const Operator& op : graph.operators) {
      if (op.copy_of.valid()) copies[at(op.layer)] = true;
    }
    has_copies_.emplace_back();
    for (int l = 0; l < work.layers(); ++l) {
      has_copies_.back().push_back(copies[at(work.line().like(l))]);
    }
  }
  for (const int microbatches : work.microbatch_counts()) {
    std::vector<const Graph*> graphs;
    for (const auto& recompute : recomputations) {
      graphs.push_back(&work.graph(microbatches, recompute));
    }
    auto family = std::make_unique<Family>();
    family->microbatches = microbatches;
    family->traffic = neighbours_traffic(*graphs.front(), work.line());
    family->bytes = std::make_shared<const LeastBytes>(graphs, work.line(), microbatches, fills_);
    std::vector<KernelBound> kernels;
    for (const Graph* graph : graphs) {
      kernels.emplace_back(*graph, work.line(), work.cluster(), microbatches);
    }
    for (const auto& [size, meshes] : sizes) {
      std::vector<std::vector<double>> seconds;
      for (const KernelBound& of_way : kernels) seconds.push_back(of_way.step(size));
      OfSize made{.size = size,
                  .once = kernels.front().once(size),
                  .floor = kernels.front().step(size),
                  .backward = kernels.front().backward(size),
                  .fitting = FittingBound(seconds, *family->bytes),
                  .places = places[size],
                  .behind = {},
                  .meshes = {}};
      for (const int place : made.places)
        made.behind.push_back(lanes_behind(work.cluster(), place, size));
      const auto floors = std::make_shared<const LayerFloors>(LayerFloors{seconds, family->bytes});
      for (const auto& [key, place] : meshes) {
        const auto& [first_device, mesh] = place;
        const double share = least_share(work.cluster(), {0, 0, first_device, mesh});
        const auto room = static_cast<double>(work.capacity(first_device, mesh).value);
        auto own = std::make_shared<MeshBounds>(microbatches, size, room, share, floors);
        made.meshes.push_back({first_device, mesh, own, own, 1.0});
        made.share = std::min(made.share, share);
        made.room = std::max(made.room, room * size);
      }
      family->sizes.push_back(std::move(made));
    }
    choose_depths(*family);
    families_.push_back(std::move(family));
  }
}

bool SpaceBound::is_small() const { return work_.layers() * work_.devices() <= kMostCells; }

void SpaceBound::choose_depths(Family& family) const {
  const auto [fewest, most] = work_.stage_counts();
  double all = 0.0;
  for (const OfSize& size : family.sizes) {
    all = std::max(all, size.room * work_.devices() / size.size);
  }
  const bool by_depth =
      fewest == most || (is_small() && family.bytes->stash().back() >
                                           kLittleStash * (all - family.bytes->state().back()));
  family.depths = depth_classes(
      by_depth ? std::min(most, std::max(fewest, family.microbatches)) : 1, fewest == most);
}

SpaceBound::~SpaceBound() = default;

MeshBounds::Solver SpaceBound::solver_on(OnMesh& on, const MeshBounds& bounds, bool bytes) {
  std::vector<const StageModel*> models;
  for (const auto& recompute : recomputations_) {
    work_.recompute(recompute);
    models.push_back(&work_.model(bounds.microbatches(), on.first_device, on.mesh));
    if (!bytes) break;  // what is computed again takes longer, if bytes cost nothing
  }
  const SolveLimits limits{.table_entries = kTableEntries,
                           .cbc_columns = 0,
                           .sweeps = kSweeps,
                           .moves = 0,
                           .stop = work_.stop()};
  const bool joined = together_ && &bounds == on.shared.get();
  const int work = on.mesh.extents.size() > 1 ? kWorkOfTwoAxes : 1;
  const std::vector<int>& classes = models.front()->layer_classes();
  const std::size_t ways = models.size();
  return {classes, ways,
          [this, models = std::move(models), limits, joined, work](
              const StageWeights& weights, int layer, std::size_t way, BoundHints& hints) {
            solved_ += work;
            return models[way]->bound(layer, layer, weights, limits, 1, joined, &hints);
          },
          [this](int layer, std::size_t way) { return bool{has_copies_[way][at(layer)]}; },
          &first_prices_[num_devices(on.mesh)]};
}

/// Looks at the meshes on which a stage may take less than the price, without memory. True if
/// something was asked.
bool SpaceBound::look_at_time(const Stage& stage, OfSize& size, double price) {
  bool asked = false;
  for (const auto bounds : {&OnMesh::shared, &OnMesh::own}) {
    std::vector<MeshBounds*> unknown;
    std::vector<MeshBounds::Solver> solvers;
    for (OnMesh& on : size.meshes) {
      MeshBounds& of_mesh = *(on.*bounds);
      if (of_mesh.is_known(stage.first, stage.last) || on.step(stage) >= price) continue;
      unknown.push_back(&of_mesh);
      solvers.push_back(solver_on(on, of_mesh, false));
    }
    side_by_side(unknown.size(), [&](std::size_t m) {
      unknown[m]->look(stage.first, stage.last, price, solvers[m]);
    });
    asked = asked || !unknown.empty();
  }
  return asked;
}

/// Looks more closely at the meshes on which a stage takes least, with memory, until they take as
/// long as the price or no more can be learnt of the least. True if something was learnt.
bool SpaceBound::look_at_memory(const Stage& stage, OfSize& size, double price) {
  bool changed = false;
  while (solved_ <= most_ && !work_.stop().stop_requested()) {
    OnMesh& least = *std::min_element(
        size.meshes.begin(), size.meshes.end(),
        [&](const OnMesh& a, const OnMesh& b) { return a.step(stage) < b.step(stage); });
    if (least.step(stage) >= price) break;
    MeshBounds &shared = *least.shared, &own = *least.own;
    const double depth = stage.depth;
    const BoundRun run{stage.first, stage.last, depth};
    const BoundRun in_shared{stage.first, stage.last, depth / least.times};
    const MeshBounds::Solver solver = solver_on(least, own, true);
    const MeshBounds::Solver of_shared = solver_on(least, shared, true);
    // Where both say about the same what is learnt of the shared bounds is of use for others, too.
    const bool alike = own.step(run) <= kAlike * shared.step(in_shared);
    const bool learnt = (alike && (shared.look_at_ways(in_shared, price, of_shared) ||
                                   shared.price_bytes(in_shared, price, of_shared))) ||
                        own.look_at_ways(run, price, solver) ||
                        own.price_bytes(run, price, solver) || own.refine(run, price, solver);
    if (!learnt) break;
    changed = true;
  }
  return changed;
}

/// True if something was learnt of the time that a stage takes for a microbatch.
bool SpaceBound::look_at_fill(const Stage& stage, OfSize& size) {
  std::vector<MeshBounds*> unknown;
  std::vector<MeshBounds::Solver> solvers;
  for (OnMesh& on : size.meshes) {
    MeshBounds& bounds = on.own->is_known(stage.first, stage.last) ? *on.own : *on.shared;
    if (bounds.is_each_known(stage.first, stage.last)) continue;
    unknown.push_back(&bounds);
    solvers.push_back(solver_on(on, bounds, false));
  }
  side_by_side(unknown.size(), [&](std::size_t m) {
    unknown[m]->look_at_each(stage.first, stage.last, solvers[m]);
  });
  return !unknown.empty();
}

/// At the stages of the least structure of a family, first at that which takes longest with those
/// before it, until something is learnt: without memory at all of them before any is looked at with
/// it, which takes far more work.
bool SpaceBound::look_closer(Family& family, double price) {
  std::vector<std::pair<double, std::size_t>> order;
  double before = 0.0;
  for (std::size_t s = 0; s < family.stages.size(); ++s) {
    const Stage& stage = family.stages[s];
    const OfSize::Least least = family.sizes[stage.size].least(stage, family.microbatches);
    order.emplace_back(-(before + least.step), s);
    if (fills_) before += least.each;
  }
  std::sort(order.begin(), order.end());
  for (const auto& look : {&SpaceBound::look_at_time, &SpaceBound::look_at_memory}) {
    for (const auto& [seconds, s] : order) {
      const Stage& stage = family.stages[s];
      if ((this->*look)(stage, family.sizes[stage.size], price)) return true;
    }
  }
  if (!fills_) return false;
  for (std::size_t s = 0; s + 1 < family.stages.size(); ++s) {
    if (look_at_fill(family.stages[s], family.sizes[family.stages[s].size])) return true;
  }
  return false;
}

/// Families that may hold better plans share what is known of the one whose number of microbatches
/// stands for theirs.
void SpaceBound::share_bounds(double price) {
  std::map<int, Family*> open;
  for (const auto& family : families_) {
    if (family->bound < price) open[family->microbatches] = family.get();
  }
  std::vector<int> counts;
  for (const auto& [count, family] : open) counts.push_back(count);
  for (const auto& [count, of] : representatives(counts, together_)) {
    Family& family = *open.at(count);
    const Family& other = *open.at(of);
    for (std::size_t s = 0; s < family.sizes.size(); ++s) {
      for (std::size_t m = 0; m < family.sizes[s].meshes.size(); ++m) {
        family.leasts.reset();
        family.sizes[s].meshes[m].shared = other.sizes[s].meshes[m].own;
        family.sizes[s].meshes[m].times = static_cast<double>(count) / of;
      }
    }
  }
}

double SpaceBound::below(double price) {
  if (work_.layers() > kMostLayers) return 0.0;
  const SearchWork::Clock clock(work_, "bound");
  const double enough = price * kEnough;
  for (const auto& family : families_) {
    family->bound = least_structure(*family, enough, family->stages);
    family->seen = 0;
  }
  share_bounds(enough);
  const auto lowest = [&]() -> Family& {
    return **std::min_element(families_.begin(), families_.end(),
                              [](const auto& a, const auto& b) { return a->bound < b->bound; });
  };
  while (solved_ <= most_ && !work_.stop().stop_requested()) {
    Family& family = lowest();
    if (family.bound >= enough) break;
    if (family.seen != solved_) {  // others may have learnt what they share
      family.seen = solved_;
      family.bound = std::max(family.bound, least_structure(family, enough, family.stages));
      work_.tell("bound", family.bound / price);
    } else if (!look_closer(family, std::min(enough, kAhead * family.bound)) &&
               !look_closer(family, enough)) {
      break;
    }
  }
  return std::min(price, lowest().bound);
}

}  // namespace alpa
