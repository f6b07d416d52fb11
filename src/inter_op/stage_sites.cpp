#include "stage_sites.hpp"

#include <algorithm>
#include <limits>

#include "side_by_side.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMostPlaces = 64;      ///< where stages may begin
constexpr double kRoomSlack = 1.05;  ///< of a limit: more stashes may make other tables best
constexpr int kLongestPeriod = 4;    ///< of blocks that repeat themselves

std::size_t at(int i) { return static_cast<std::size_t>(i); }

double both_of(const StageTimes& t) { return (t.forward + t.backward).value; }

double rest_of(const StageTimes& t, int microbatches) {
  return (microbatches - 1) * both_of(t) + (t.prepare + t.reduce + t.update).value;
}

}  // namespace

StageSites::StageSites(SearchWork& work, LayerTables& tables, int microbatches,
                       PipelineKind schedule, const Sizes& sizes)
    : work_(work),
      microbatches_(microbatches),
      schedule_(schedule),
      sizes_(sizes),
      limit_(kInfinity) {
  const int layers = work.layers();
  const int in_block = (layers + kMostBlocks - 1) / kMostBlocks;
  for (int l = 0; l < layers; l += in_block) begin_.push_back(l);
  begin_.push_back(layers);
  while (work.devices() / unit_ > kMostPlaces) unit_ *= 2;
  places_ = (work.devices() + unit_ - 1) / unit_;
  std::vector<std::vector<int>> sizes_at(at(places_));
  std::vector<PlacedMesh> wanted;
  for (int p = 0; p < places_; ++p) {
    for (const int size : submesh_sizes(work.cluster(), device(p))) {
      const bool divides = work.devices() % size == 0;
      if ((sizes.regular || unit_ > 1) && !divides) continue;
      if (size % unit_ != 0) continue;
      sizes_at[at(p)].push_back(size);
      for (const DeviceMesh& mesh : meshes(size)) {
        if (may_hold_a_layer(device(p), mesh)) wanted.push_back({device(p), mesh});
      }
    }
  }
  tables.prepare(microbatches, wanted);
  add_sites(tables, sizes_at);
}

int StageSites::block_of(int layer) const {
  return static_cast<int>(std::lower_bound(begin_.begin(), begin_.end(), layer) - begin_.begin());
}

void StageSites::add_sites(LayerTables& tables, const std::vector<std::vector<int>>& sizes_at) {
  std::map<std::vector<const MeshTables*>, std::size_t> known;
  for (int p = 0; p < places_; ++p) {
    for (const int size : sizes_at[at(p)]) {
      Site site;
      site.units = size / unit_;
      for (const DeviceMesh& mesh : meshes(size)) {
        if (!may_hold_a_layer(device(p), mesh)) continue;
        const MeshTables& of_mesh = tables.of(microbatches_, device(p), mesh);
        if (of_mesh.empty()) continue;
        site.room = work_.room(microbatches_, device(p), mesh);
        site.meshes.push_back(mesh);
        site.tables.push_back(&of_mesh);
      }
      if (site.meshes.empty()) continue;
      const auto [it, fresh] = known.try_emplace(site.tables, sites_.size());
      if (fresh) sites_.push_back(std::move(site));
      sites_[it->second].places.push_back(p);
    }
  }
  for (Site& site : sites_) find_repeats(site);
  of_depths_.resize(sites_.size());
}

/// The period with which most blocks repeat themselves.
void StageSites::find_repeats(Site& site) const {
  std::int64_t most = -1;
  for (int period = 1; period <= kLongestPeriod; ++period) {
    std::vector<int> repeats(at(blocks() + 1), 0);
    std::int64_t all = 0;
    for (int block = blocks() - 1; block >= period; --block) {
      if (!alike(site, block, block - period)) continue;
      repeats[at(block)] = repeats[at(block + 1)] + 1;
      all += repeats[at(block)];
    }
    if (all <= most) continue;
    most = all;
    site.period = period;
    site.repeats = std::move(repeats);
  }
}

/// Whether two blocks have the same figures in all tables.
bool StageSites::alike(const Site& site, int a, int b) const {
  const int layers = first_layer(a + 1) - first_layer(a);
  if (first_layer(b + 1) - first_layer(b) != layers) return false;
  for (const MeshTables* tables : site.tables) {
    for (const LineAnswer& answer : *tables) {
      for (int l = 0; l < layers; ++l) {
        if (!answer.table.alike(first_layer(a) + l, first_layer(b) + l)) return false;
      }
    }
  }
  return true;
}

std::vector<DeviceMesh> StageSites::meshes(int size) const {
  std::vector<DeviceMesh> all = work_.meshes(size);
  if (sizes_.one_axis && !sizes_.two_axes.contains(size) && all.size() > 1) all.resize(1);
  return all;
}

/// Whether some layer's state finds room, split as evenly as can be.
bool StageSites::may_hold_a_layer(int device, const DeviceMesh& mesh) {
  if (least_state_ < 0) {
    const Graph& graph = work_.graph(microbatches_);
    std::vector<std::int64_t> states(at(graph.num_layers), 0);
    for (const Tensor& tensor : graph.tensors) {
      const bool kept = tensor.role == Role::parameter || tensor.role == Role::optimizer_state;
      if (kept) states[at(tensor.layer)] += bytes_of(tensor.shape, tensor.dtype).value;
    }
    least_state_ = *std::min_element(states.begin(), states.end());
  }
  return least_state_ / num_devices(mesh) <= work_.capacity(device, mesh).value;
}

int StageSites::depth(int left) const {
  if (schedule_ == PipelineKind::gpipe) return microbatches_;
  const auto& constraint = work_.request().constraints.warm_up;
  int depth = left;
  if (constraint && std::holds_alternative<MostDepth>(*constraint)) depth = 2 * left - 1;
  if (constraint && std::holds_alternative<std::vector<std::int64_t>>(*constraint)) {
    const std::vector<int> given = work_.warm_up(work_.stage_counts().first);
    depth = given[given.size() - at(std::min(left, static_cast<int>(given.size())))];
  }
  return std::min(depth, microbatches_);
}

void StageSites::limit(double most) {
  limit_ = most;
  for (OfDepths& of_depths : of_depths_) of_depths.runs.clear();
}

void StageSites::make_runs(int left) {
  std::set<int> stashes;
  for (int l = 1; l <= left; ++l) stashes.insert(depth(l));
  side_by_side(sites_.size(), [&](std::size_t s) {
    for (const int depth : stashes) make_runs(s, depth);
  });
}

const StageSites::Runs& StageSites::runs(int site, int left) const {
  return of_depths_[at(site)].runs.at(depth(left));
}

void StageSites::make_runs(std::size_t site, int stashes) {
  const auto [it, is_new] = of_depths_[site].runs.try_emplace(stashes);
  if (!is_new) return;
  const Site& of = sites_[site];
  const std::vector<Chain>& of_meshes = chains(site, stashes);
  auto& from = it->second.from;
  from.resize(at(blocks()));
  for (int i = 0; i < blocks(); ++i) {
    Runs::Row& row = from[at(i)];
    const int known = of.repeats[at(i)];
    if (known > 0) row = Runs::Row(from[at(i - of.period)], at(known));
    if (row.size() < at(known)) continue;  // longer runs take more room or longer
    for (int k = i + known; k < blocks(); ++k) {
      if (row.size() > 0 && row[row.size() - 1].rest >= limit_ * kRoomSlack) break;
      const Candidate best = best_of(of, of_meshes, stashes, i, k);
      if (best.mesh == nullptr) break;
      row.push_back({both_of(best.times), rest_of(best.times, microbatches_)});
    }
  }
}

StageSites::Runs::Row::Row(const Row& other, std::size_t count) {
  count = std::min(count, other.size());
  if (other.shared_ > 0 && count > other.shared_) {
    for (std::size_t k = 0; k < count; ++k) own_.push_back(other[k]);
    return;
  }
  others_ = other.shared_ > 0 ? other.others_ : other.own_.data();
  shared_ = count;
}

const std::vector<Chain>& StageSites::chains(std::size_t site, int stashes) {
  const auto [it, is_new] = of_depths_[site].chains.try_emplace(stashes);
  if (is_new) {
    for (const MeshTables* of_mesh : sites_[site].tables) {
      it->second.push_back(chain_of(*of_mesh, microbatches_, stashes));
    }
  }
  return it->second;
}

StageSites::Candidate StageSites::best_of(int site, int stashes, int first, int last) {
  return best_of(sites_[at(site)], chains(at(site), stashes), stashes, first, last);
}

StageSites::Candidate StageSites::best_of(const Site& site, const std::vector<Chain>& chains,
                                          int stashes, int first, int last) const {
  Candidate best;
  double least = kInfinity;
  for (std::size_t m = 0; m < site.meshes.size(); ++m) {
    const auto found = mixture_within(chains[m], first_layer(first), first_layer(last + 1) - 1,
                                      stashes, site.room);
    if (!found) continue;
    const StageTimes& times = found->figures.times;
    const double time = both_of(times) + rest_of(times, microbatches_);
    if (time >= least) continue;
    least = time;
    best = {times, &site.meshes[m]};
  }
  return best;
}

}  // namespace alpa
