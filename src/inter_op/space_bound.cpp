#include "space_bound.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "kernel_bound.hpp"
#include "layer_tables.hpp"
#include "pipeline_bound.hpp"
#include "side_by_side.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMostSolved = 3'200;
constexpr int kFewestSolved = 24;
constexpr int kMostLayers = 128;   ///< of models that are looked at so closely
constexpr double kEnough = 0.999;  ///< of the price: proved
constexpr int kSweeps = 16;        ///< of message passing over a layer
constexpr double kGain = 1.001;    ///< by which a price of bytes must raise a bound
const std::vector<double> kShares = {0.15, 0.4, 1.0, 2.5};  ///< prices tried: of time over memory

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

RunBounds::RunBounds(const std::vector<int>& classes, const std::function<double(int layer)>& of)
    : sums_(1, 0.0) {
  std::map<std::pair<int, int>, double> known;  // what layers take to the next is theirs
  for (std::size_t l = 0; l < classes.size(); ++l) {
    const int next = l + 1 < classes.size() ? classes[l + 1] : -1;
    const auto [it, is_new] = known.try_emplace({classes[l], next});
    if (is_new) it->second = of(static_cast<int>(l));
    sums_.push_back(sums_.back() + it->second);
  }
}

/// What is known of one mesh.
struct SpaceBound::MeshBound {
  int first_device = 0;
  DeviceMesh mesh;
  double room = 0.0;   ///< bytes
  double share = 1.0;  ///< of its time that it takes at the least
  /// w with bytes at a price, for at least `depth` stashes.
  struct Priced {
    double price = 0.0;
    int depth = 0;
    RunBounds bounds;
  };
  std::vector<Priced> step;
  std::set<int> depths;  ///< for which prices were tried

  [[nodiscard]] double of(int first, int last, int depth) const {
    double most = 0.0;
    for (const Priced& p : step) {
      if (p.depth > depth) continue;
      most = std::max(most, p.bounds.of(first, last) - p.price * room);
    }
    return most * share;
  }
};

struct SpaceBound::OfSize {
  int size = 0;
  std::vector<MeshBound> meshes;
  bool close = false;                         ///< meshes have bounds of their own
  double share = 1.0;                         ///< the least of its meshes
  std::vector<double> kernels, kernels_each;  ///< prefix sums over layers
  std::vector<int> places;                    ///< devices at which it may begin
};

struct SpaceBound::OfCount {
  int microbatches = 1;
  double bound = 0.0;
  std::vector<OfSize> sizes;
};

SpaceBound::SpaceBound(SearchWork& work, bool fills)
    : work_(work),
      fills_(fills),
      most_(std::max(kFewestSolved, kMostSolved / std::max(8, work.devices()))) {
  if (work.layers() > kMostLayers) return;
  std::map<int, std::map<std::string, std::pair<int, DeviceMesh>>> sizes;
  std::map<int, std::vector<int>> places;
  for (int d = 0; d < work.devices(); ++d) {
    for (const int size : submesh_sizes(work.cluster(), d)) {
      places[size].push_back(d);
      for (const DeviceMesh& mesh : work.meshes(size)) {
        sizes[size].try_emplace(work.costs(d, mesh).key(), d, mesh);
      }
    }
  }
  for (const int microbatches : work.microbatch_counts()) {
    auto of = std::make_unique<OfCount>();
    of->microbatches = microbatches;
    const KernelBound kernels(work.graph(microbatches), work.line(), work.cluster(), microbatches);
    for (const auto& [size, meshes] : sizes) {
      OfSize& made = of->sizes.emplace_back();
      made.size = size;
      made.places = places[size];
      made.kernels = kernels.step(size);
      made.kernels_each = kernels.each(size);
      for (const auto& [key, place] : meshes) {
        MeshBound& mesh = made.meshes.emplace_back();
        mesh.first_device = place.first;
        mesh.mesh = place.second;
        mesh.room = static_cast<double>(work.capacity(place.first, place.second).value);
        mesh.share = least_share(work.cluster(), {0, 0, place.first, place.second});
        made.share = std::min(made.share, mesh.share);
      }
    }
    counts_.push_back(std::move(of));
  }
}

SpaceBound::~SpaceBound() = default;

/// Backwards over stages left: the least of max(w, t + what follows).
double SpaceBound::least_structure(OfCount& of, double price, std::vector<Stage>& stages) {
  const int layers = work_.layers();
  const int devices = work_.devices();
  const int most = work_.stage_counts().second;
  const auto cell = [&](int layer, int device) { return at(layer) * at(devices + 1) + at(device); };
  const auto least_on = [&](const OfSize& size, int first, int last, int depth, double& each) {
    const double kernels = size.share * (size.kernels[at(last) + 1] - size.kernels[at(first)]);
    each = size.share * (size.kernels_each[at(last) + 1] - size.kernels_each[at(first)]);
    if (!size.close) return kernels;
    double least = kInfinity;
    for (const MeshBound& mesh : size.meshes) {
      least = std::min(least, std::max(kernels, mesh.of(first, last, depth)));
    }
    return least;
  };
  bool by_depth = false;
  for (const OfSize& size : of.sizes) {
    for (const MeshBound& mesh : size.meshes) by_depth = by_depth || mesh.step.size() > 1;
  }
  // Without prices of bytes the depth makes no difference: any number of stages may follow.
  const int rows = by_depth ? most : 1;
  struct Choice {
    int last = -1, size = -1;
  };
  std::vector<std::vector<double>> value_of;  // [left][layer * (devices + 1) + device]
  value_of.assign(at(rows) + 1, std::vector<double>(at(layers + 1) * at(devices + 1), kInfinity));
  std::vector<std::vector<Choice>> chosen(at(rows) + 1,
                                          std::vector<Choice>(at(layers + 1) * at(devices + 1)));
  for (int d = 0; d <= devices; ++d) value_of[0][cell(layers, d)] = 0.0;
  for (int left = 1; left <= rows; ++left) {
    for (int first = layers - 1; first >= 0; --first) {
      for (std::size_t s = 0; s < of.sizes.size(); ++s) {
        const OfSize& size = of.sizes[s];
        if (size.size > devices) break;
        const int depth = by_depth ? std::min(left, of.microbatches) : 1;
        for (int last = first; last < layers; ++last) {
          double each = 0.0;
          const double step = least_on(size, first, last, depth, each);
          if (step >= price) break;  // longer runs take longer
          const double filled = fills_ ? each : 0.0;
          const auto& after = value_of[by_depth ? at(left - 1) : last + 1 == layers ? 0 : 1];
          for (const int device : size.places) {
            const double rest = after[cell(last + 1, device + size.size)];
            const double all = std::max(step, last + 1 == layers ? 0.0 : filled + rest);
            if (rest == kInfinity && last + 1 < layers) continue;
            if (by_depth && last + 1 == layers && left > 1) continue;
            double& value = value_of[at(left)][cell(first, device)];
            if (all >= value) continue;
            value = all;
            chosen[at(left)][cell(first, device)] = {last, static_cast<int>(s)};
          }
        }
      }
    }
  }
  int left = 1;
  for (int l = work_.stage_counts().first; l <= rows; ++l) {
    if (value_of[at(l)][cell(0, 0)] < value_of[at(left)][cell(0, 0)]) left = l;
  }
  const double least = value_of[at(left)][cell(0, 0)];
  stages.clear();
  if (least >= price) return price;
  for (int layer = 0, device = 0; layer < layers;) {
    const Choice& choice = chosen[at(left)][cell(layer, device)];
    stages.push_back({layer, choice.last, choice.size, by_depth ? left : 0});
    layer = choice.last + 1;
    device += of.sizes[at(choice.size)].size;
    if (by_depth) --left;
  }
  int depth = static_cast<int>(stages.size());
  for (Stage& stage : stages) stage.depth = std::min(depth--, of.microbatches);
  return least;
}

RunBounds SpaceBound::bounds_on(const OfCount& of, const StageModel& model,
                                const StageWeights& weights) {
  StageWeights step = weights;
  step.forward = step.backward = of.microbatches;
  const SolveLimits limits{.table_entries = kTableEntries,
                           .cbc_columns = 0,
                           .sweeps = kSweeps,
                           .moves = 0,
                           .stop = work_.request().stop};
  return {model.layer_classes(), [&](int layer) {
            ++solved_;
            return model.bound(layer, layer, step, limits);
          }};
}

void SpaceBound::look_at_meshes(const OfCount& of, OfSize& size) {
  std::vector<std::unique_ptr<StageModel>> made(size.meshes.size());
  const Graph& graph = work_.graph(of.microbatches);
  const auto& index = work_.index(of.microbatches);
  std::vector<const StageModel*> models(size.meshes.size(), nullptr);
  std::vector<const MeshCosts*> costs;
  for (std::size_t m = 0; m < models.size(); ++m) {
    const MeshBound& mesh = size.meshes[m];
    costs.push_back(&work_.costs(mesh.first_device, mesh.mesh));
    if (work_.has_model(of.microbatches, mesh.first_device, mesh.mesh)) {
      models[m] = &work_.model(of.microbatches, mesh.first_device, mesh.mesh);
    }
  }
  side_by_side(models.size(), [&](std::size_t m) {
    if (models[m] == nullptr) {
      made[m] = std::make_unique<StageModel>(graph, *costs[m], of.microbatches,
                                             work_.stage_constraints(), index);
      models[m] = made[m].get();
    }
    size.meshes[m].step.push_back({0.0, 0, bounds_on(of, *models[m], {})});
  });
  for (std::size_t m = 0; m < models.size(); ++m) {
    if (!made[m]) continue;
    const MeshBound& mesh = size.meshes[m];
    work_.add_model(of.microbatches, mesh.first_device, mesh.mesh, std::move(made[m]));
  }
  size.close = true;
}

bool SpaceBound::price_bytes(const OfCount& of, const Stage& stage, MeshBound& mesh) {
  const double now = mesh.of(stage.first, stage.last, stage.depth);
  const double base = mesh.step.front().bounds.of(stage.first, stage.last);
  const StageModel& model = work_.model(of.microbatches, mesh.first_device, mesh.mesh);
  std::vector<std::optional<RunBounds>> found(kShares.size());
  const auto price_of = [&](std::size_t k) { return kShares[k] * base / mesh.room; };
  side_by_side(kShares.size(), [&](std::size_t k) {
    StageWeights priced;
    priced.state_byte = price_of(k);
    priced.stash_byte = priced.state_byte * stage.depth;
    found[k] = bounds_on(of, model, priced);
  });
  bool changed = false;
  for (std::size_t k = 0; k < kShares.size(); ++k) {
    const double bound = found[k]->of(stage.first, stage.last) - price_of(k) * mesh.room;
    if (bound * mesh.share < now * kGain) continue;
    mesh.step.push_back({price_of(k), stage.depth, std::move(*found[k])});
    changed = true;
  }
  return changed;
}

bool SpaceBound::look_closer(OfCount& of, const std::vector<Stage>& stages, double price) {
  bool changed = false;
  for (const Stage& stage : stages) {
    OfSize& size = of.sizes[at(stage.size)];
    if (!size.close) {
      look_at_meshes(of, size);
      changed = true;
      continue;
    }
    // The mesh on which it takes least, until that is one of which no more can be learnt.
    while (solved_ <= most_ && !work_.request().stop.stop_requested()) {
      const auto least = std::min_element(size.meshes.begin(), size.meshes.end(),
                                          [&](const MeshBound& a, const MeshBound& b) {
                                            return a.of(stage.first, stage.last, stage.depth) <
                                                   b.of(stage.first, stage.last, stage.depth);
                                          });
      if (least->of(stage.first, stage.last, stage.depth) >= price) break;
      if (!least->depths.insert(stage.depth).second) break;
      changed = price_bytes(of, stage, *least) || changed;
    }
  }
  return changed;
}

double SpaceBound::below(double price) {
  if (work_.layers() > kMostLayers) return 0.0;
  const SearchWork::Clock clock(work_, "bound");
  const double enough = price * kEnough;
  std::vector<std::vector<Stage>> stages(counts_.size());
  for (std::size_t b = 0; b < counts_.size(); ++b) {
    counts_[b]->bound = least_structure(*counts_[b], enough, stages[b]);
  }
  while (solved_ <= most_ && !work_.request().stop.stop_requested()) {
    std::size_t lowest = 0;
    for (std::size_t b = 1; b < counts_.size(); ++b) {
      if (counts_[b]->bound < counts_[lowest]->bound) lowest = b;
    }
    OfCount& of = *counts_[lowest];
    if (of.bound >= enough || !look_closer(of, stages[lowest], enough)) break;
    work_.tell("bound", of.bound / price);
    of.bound = std::max(of.bound, least_structure(of, enough, stages[lowest]));
  }
  double least = price;
  for (const auto& of : counts_) least = std::min(least, of->bound);
  return least;
}

}  // namespace alpa
