#include "structure_programme.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "stage_points.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMostStages = 32;
constexpr double kCapStep = 0.98;       ///< where there is much to do
constexpr int kFewCells = 512;          ///< (layers x devices), where every cap is tried
constexpr std::size_t kMostRated = 32;  ///< drafts that are handed on

/// The best of a submesh's logical meshes and tables for a run of layers.
struct Candidate {
  double both = kInfinity;  ///< t
  double rest = kInfinity;  ///< (B - 1) t + u
  StageTimes times;
  const DeviceMesh* mesh = nullptr;
};

/// A submesh at some device: its meshes with their tables.
struct Site {
  int devices = 0;
  Bytes room;
  std::vector<DeviceMesh> meshes;
  std::vector<const MeshTables*> tables;
  std::vector<std::vector<Candidate>> candidates;  ///< [depth][layers], when first asked for
};

struct Cell {
  double sum = kInfinity;
  double most = 0.0;  ///< largest (B - 1) t + u
  int last_layer = -1;
  int site = -1;
};

class Programme {
 public:
  Programme(SearchWork& work, LayerTables& tables, int microbatches, PipelineKind schedule,
            Sizes sizes)
      : work_(work),
        microbatches_(microbatches),
        schedule_(schedule),
        layers_(work.layers()),
        devices_(work.devices()),
        most_stages_(std::min({work.stage_counts().second, kMostStages})),
        sizes_(sizes),
        traffic_(border_traffic(work.graph(microbatches))) {
    std::vector<std::vector<int>> sizes_at(static_cast<std::size_t>(devices_));
    std::vector<PlacedMesh> wanted;
    for (int d = 0; d < devices_; ++d) {
      for (const int size : submesh_sizes(work.cluster(), d)) {
        if (sizes.regular && devices_ % size != 0) continue;
        sizes_at[static_cast<std::size_t>(d)].push_back(size);
        for (const DeviceMesh& mesh : meshes(size)) {
          if (may_hold_a_layer(d, mesh)) wanted.push_back({d, mesh});
        }
      }
    }
    tables.prepare(microbatches, wanted);
    add_sites(tables, sizes_at);
  }

  std::vector<RatedDraft> run() {
    double cap = kInfinity;
    double best = kInfinity;
    while (!work_.stopped()) {
      fill(cap);
      double least_sum = kInfinity;
      double next_cap = 0.0;
      for (int stages = work_.stage_counts().first; stages <= most_stages_; ++stages) {
        const Cell& whole = cell(stages, 0, 0);
        if (whole.sum == kInfinity) continue;
        rate(stages);
        best = std::min(best, whole.sum + whole.most);
        least_sum = std::min(least_sum, whole.sum);
        next_cap = std::max(next_cap, whole.most);
      }
      if (least_sum >= best || next_cap <= 0.0) break;
      cap = layers_ * devices_ <= kFewCells ? next_cap : next_cap * kCapStep;
    }
    std::vector<RatedDraft> rated;
    for (auto& [key, draft] : found_) rated.push_back(std::move(draft));
    std::stable_sort(rated.begin(), rated.end(),
                     [](const RatedDraft& a, const RatedDraft& b) { return a.time < b.time; });
    if (rated.size() > kMostRated) rated.resize(kMostRated);
    return rated;
  }

 private:
  void add_sites(LayerTables& tables, const std::vector<std::vector<int>>& sizes_at) {
    std::map<std::vector<const MeshTables*>, int> known;
    at_.resize(static_cast<std::size_t>(devices_));
    for (int d = 0; d < devices_; ++d) {
      for (const int size : sizes_at[static_cast<std::size_t>(d)]) {
        Site site{size, {}, {}, {}, {}};
        for (const DeviceMesh& mesh : meshes(size)) {
          if (!may_hold_a_layer(d, mesh)) continue;
          const MeshTables& of_mesh = tables.of(microbatches_, d, mesh);
          if (of_mesh.empty()) continue;
          site.room = work_.room(d, mesh);
          site.meshes.push_back(mesh);
          site.tables.push_back(&of_mesh);
        }
        if (site.meshes.empty()) continue;
        const auto [it, fresh] = known.try_emplace(site.tables, static_cast<int>(sites_.size()));
        if (fresh) sites_.push_back(std::move(site));
        at_[static_cast<std::size_t>(d)].push_back(it->second);
      }
    }
  }

  [[nodiscard]] std::vector<DeviceMesh> meshes(int size) const {
    std::vector<DeviceMesh> all = work_.meshes(size);
    if (sizes_.one_axis && all.size() > 1) all.resize(1);
    return all;
  }

  /// Whether some layer's state finds room, split as evenly as can be.
  [[nodiscard]] bool may_hold_a_layer(int device, const DeviceMesh& mesh) {
    if (least_state_ < 0) {
      const Graph& graph = work_.graph(microbatches_);
      std::vector<std::int64_t> states(static_cast<std::size_t>(layers_), 0);
      for (const Tensor& tensor : graph.tensors) {
        const bool kept = tensor.role == Role::parameter || tensor.role == Role::optimizer_state;
        if (kept) {
          states[static_cast<std::size_t>(tensor.layer)] +=
              bytes_of(tensor.shape, tensor.dtype).value;
        }
      }
      least_state_ = *std::min_element(states.begin(), states.end());
    }
    return least_state_ / num_devices(mesh) <= work_.capacity(device, mesh).value;
  }

  /// Microbatches in flight at the stage with `left - 1` after it.
  [[nodiscard]] int depth(int left) const {
    return schedule_ == PipelineKind::gpipe ? microbatches_ : std::min(left, microbatches_);
  }

  [[nodiscard]] std::size_t run_index(int first, int last) const {
    return static_cast<std::size_t>(first) * static_cast<std::size_t>(layers_) +
           static_cast<std::size_t>(last);
  }

  const Candidate& candidate(Site& site, int left, int first, int last) {
    const int stashes = depth(left);
    const auto d = static_cast<std::size_t>(
        schedule_ == PipelineKind::gpipe ? 0 : std::min(stashes, most_stages_) - 1);
    if (site.candidates.size() <= d) site.candidates.resize(d + 1);
    auto& runs = site.candidates[d];
    if (runs.empty()) {
      runs.resize(static_cast<std::size_t>(layers_) * static_cast<std::size_t>(layers_));
      for (int i = 0; i < layers_; ++i) {
        for (int k = i; k < layers_; ++k) runs[run_index(i, k)] = best_of(site, stashes, i, k);
      }
    }
    return runs[run_index(first, last)];
  }

  [[nodiscard]] Candidate best_of(const Site& site, int stashes, int first, int last) const {
    Candidate best;
    for (std::size_t m = 0; m < site.meshes.size(); ++m) {
      for (const LayerTable& table : *site.tables[m]) {
        const StageFigures figures = table.of(first, last);
        if (memory_of(figures, stashes) > site.room) continue;
        const StageTimes& t = figures.times;
        const double both = (t.forward + t.backward).value;
        const double rest = (microbatches_ - 1) * both + (t.prepare + t.reduce + t.update).value;
        if (both + rest < best.both + best.rest) best = {both, rest, t, &site.meshes[m]};
        break;  // later tables are smaller and slower
      }
    }
    return best;
  }

  Cell& cell(int stages, int layer, int device) {
    const auto row = static_cast<std::size_t>(stages * (layers_ + 1) + layer);
    return cells_[row * static_cast<std::size_t>(devices_ + 1) + static_cast<std::size_t>(device)];
  }

  void fill(double cap) {
    cells_.assign(static_cast<std::size_t>((most_stages_ + 1) * (layers_ + 1) * (devices_ + 1)),
                  Cell{});
    for (int d = 0; d <= devices_; ++d) cell(0, layers_, d).sum = 0.0;
    for (int left = 1; left <= most_stages_; ++left) {
      for (int first = layers_ - left; first >= 0; --first) {
        for (int device = 0; device < devices_; ++device) fill_cell(left, first, device, cap);
      }
    }
  }

  static bool better(const Cell& a, const Cell& b) {
    return a.sum < b.sum || (a.sum == b.sum && a.most < b.most);
  }

  void fill_cell(int left, int first, int device, double cap) {
    Cell best;
    const double message = first > 0 ? message_time(first, device) : 0.0;
    for (const int s : at_[static_cast<std::size_t>(device)]) {
      Site& site = sites_[static_cast<std::size_t>(s)];
      if (device + site.devices > devices_) continue;
      for (int last = left == 1 ? layers_ - 1 : first; last <= layers_ - left; ++last) {
        const Candidate& stage = candidate(site, left, first, last);
        if (!(stage.rest < cap)) break;  // longer runs take longer
        const Cell& after = cell(left - 1, last + 1, device + site.devices);
        const double sum = stage.both + message + after.sum;
        const double most = std::max(stage.rest, after.most);
        const Cell cell{sum, most, last, s};
        if (first == 0 && left == 1 ? sum + most < best.sum + best.most : better(cell, best)) {
          best = cell;
        }
      }
    }
    cell(left, first, device) = best;
  }

  /// Both ways over the link into a stage that begins there, by one device on each side.
  [[nodiscard]] double message_time(int first, int device) const {
    const Link link = link_between(work_.cluster(), device - 1, device);
    const auto i = static_cast<std::size_t>(first);
    return alpa::message_time(traffic_.forward[i] + traffic_.backward[i], link).value;
  }

  void rate(int stages) {
    RatedDraft rated;
    Draft& draft = rated.draft;
    draft.microbatches = microbatches_;
    draft.schedule = schedule_;
    if (schedule_ == PipelineKind::one_f_one_b) draft.warm_up = least_warm_up(stages);
    std::vector<StageTimes> times;
    int layer = 0;
    int device = 0;
    for (int left = stages; left > 0; --left) {
      const Cell& from = cell(left, layer, device);
      Site& site = sites_[static_cast<std::size_t>(from.site)];
      const Candidate& stage = candidate(site, left, layer, from.last_layer);
      draft.stages.push_back({layer, from.last_layer, device, *stage.mesh});
      times.push_back(stage.times);
      layer = from.last_layer + 1;
      device += site.devices;
    }
    const std::string key = key_of(draft);
    if (found_.contains(key)) return;
    const auto transfers = estimated_transfers(draft, traffic_, work_.cluster());
    rated.time = modelled_price(work_.cluster(), draft, times, transfers) + work_.norm();
    found_.emplace(key, std::move(rated));
  }

  SearchWork& work_;
  int microbatches_;
  PipelineKind schedule_;
  int layers_, devices_, most_stages_;
  Sizes sizes_;
  BorderTraffic traffic_;
  std::vector<Site> sites_;
  std::vector<std::vector<int>> at_;  ///< [device]: sites that may begin there
  std::vector<Cell> cells_;
  std::int64_t least_state_ = -1;  ///< bytes of the layer with the smallest state
  std::map<std::string, RatedDraft> found_;
};

}  // namespace

std::vector<RatedDraft> rated_drafts(SearchWork& work, LayerTables& tables, int microbatches,
                                     PipelineKind schedule, Sizes sizes) {
  Programme programme(work, tables, microbatches, schedule, sizes);
  const SearchWork::Clock clock(work, "dynamic programme");
  return programme.run();
}

}  // namespace alpa
