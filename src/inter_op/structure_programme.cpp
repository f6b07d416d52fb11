#include "structure_programme.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "side_by_side.hpp"
#include "stage_points.hpp"
#include "warm_up.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMostStages = 32;
constexpr int kMostBlocks = 128;   ///< of layers, between which cuts are looked for
constexpr int kMostPlaces = 64;    ///< where stages may begin
constexpr double kCapStep = 1.02;  ///< where there is much to do
constexpr std::size_t kCapsAtOnce = 4;
constexpr int kFewCells = 512;          ///< (layers x devices), where every cap is tried
constexpr std::size_t kMostRated = 32;  ///< drafts that are handed on
constexpr double kWorthRating = 1.25;   ///< times the best
constexpr double kRoomSlack = 1.05;     ///< of a cap: more stashes may make other tables best
constexpr int kMostDepthsRated = 4;     ///< of one cut, where memory is short
constexpr int kLongestPeriod = 4;       ///< of blocks that repeat themselves

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// The best of a submesh's logical meshes and tables for a run of blocks.
struct Candidate {
  StageTimes times;
  const DeviceMesh* mesh = nullptr;
};

/// Runs of blocks on a submesh with so many stashes, [first * blocks + last].
struct Candidates {
  std::vector<double> both;  ///< t; infinite where nothing fits
  std::vector<double> rest;  ///< (B - 1) t + u
};

/// A submesh at some places: its meshes with their tables.
struct Site {
  int units = 0;  ///< of devices
  Bytes room;
  std::vector<DeviceMesh> meshes;
  std::vector<const MeshTables*> tables;
  std::vector<int> places;  ///< where it may begin
  int period = 1;
  /// [block] from it on so many have the same figures as those `period` before.
  std::vector<int> repeats;
  std::vector<Candidates> candidates;  ///< [depth], when first asked for
};

/// First stage of a list of stages.
struct FirstStage {
  int last = -1;  ///< block
  int site = -1;
};

/// The best lists of stages, [stages left][block][place].
struct Cells {
  std::vector<double> sum, most;  ///< of t; largest (B - 1) t + u
  std::vector<FirstStage> begins;
};

class Programme {
 public:
  Programme(SearchWork& work, LayerTables& tables, int microbatches, PipelineKind schedule,
            const Sizes& sizes, double limit)
      : limit_(limit),
        work_(work),
        microbatches_(microbatches),
        schedule_(schedule),
        most_stages_(
            std::max(work.stage_counts().first, std::min(work.stage_counts().second, kMostStages))),
        sizes_(sizes),
        traffic_(border_traffic(work.graph(microbatches), work.line())) {
    const int layers = work.layers();
    const int in_block = (layers + kMostBlocks - 1) / kMostBlocks;
    for (int l = 0; l < layers; l += in_block) begin_.push_back(l);
    begin_.push_back(layers);
    blocks_ = static_cast<int>(begin_.size()) - 1;
    while (work.devices() / unit_ > kMostPlaces) unit_ *= 2;
    places_ = (work.devices() + unit_ - 1) / unit_;
    most_stages_ = std::min({most_stages_, blocks_, places_});
    std::vector<std::vector<int>> sizes_at(at(places_));
    std::vector<PlacedMesh> wanted;
    for (int p = 0; p < places_; ++p) {
      for (const int size : submesh_sizes(work.cluster(), p * unit_)) {
        const bool divides = work.devices() % size == 0;
        if ((sizes.regular || unit_ > 1) && !divides) continue;
        if (size % unit_ != 0) continue;
        sizes_at[at(p)].push_back(size);
        for (const DeviceMesh& mesh : meshes(size)) {
          if (may_hold_a_layer(p * unit_, mesh)) wanted.push_back({p * unit_, mesh});
        }
      }
    }
    tables.prepare(microbatches, wanted);
    add_sites(tables, sizes_at);
    std::vector<Link> into(at(places_));
    for (int p = 1; p < places_; ++p) {
      into[at(p)] = link_between(work.cluster(), p * unit_ - 1, p * unit_);
    }
    for (int first = 0; first <= blocks_; ++first) {
      for (int p = 0; p < places_; ++p) {
        const bool sent = first > 0 && first < blocks_ && p > 0;
        message_.push_back(sent ? message_time(first, into[at(p)]) : 0.0);
      }
    }
  }

  std::vector<RatedDraft> run() {
    if (blocks_ * places_ <= kFewCells) {
      lower_caps();
    } else {
      raise_caps();
    }
    std::vector<RatedDraft> rated;
    for (auto& [key, draft] : found_) rated.push_back(std::move(draft));
    std::stable_sort(rated.begin(), rated.end(),
                     [](const RatedDraft& a, const RatedDraft& b) { return a.time < b.time; });
    if (rated.size() > kMostRated) rated.resize(kMostRated);
    return rated;
  }

 private:
  /// The lists of least sum under a cap, one for each number of stages.
  struct Pass {
    double least_sum = kInfinity;
    double least_most = kInfinity, largest_most = 0.0;
  };

  Pass pass(double cap) {
    side_by_side(sites_.size(), [&](std::size_t s) {
      for (int left = 1; left <= most_stages_; ++left) (void)candidates(sites_[s], left);
    });
    Cells cells;
    fill(cap, cells);
    return look(cells);
  }

  Pass look(const Cells& cells) {
    Pass found;
    for (int stages = work_.stage_counts().first; stages <= most_stages_; ++stages) {
      const double sum = cells.sum[cell(stages, 0, 0)];
      const double most = cells.most[cell(stages, 0, 0)];
      if (sum == kInfinity) continue;
      best_ = std::min(best_, sum + most);
      found.least_sum = std::min(found.least_sum, sum);
      found.least_most = std::min(found.least_most, most);
      found.largest_most = std::max(found.largest_most, most);
    }
    for (int stages = work_.stage_counts().first; stages <= most_stages_; ++stages) {
      const std::size_t whole = cell(stages, 0, 0);
      if (cells.sum[whole] + cells.most[whole] < best_ * kWorthRating) rate(cells, stages);
    }
    return found;
  }

  /// Every cap that makes a difference, from above.
  void lower_caps() {
    double cap = kInfinity;
    while (!work_.stopped()) {
      const Pass found = pass(cap);
      if (found.least_sum >= best_ || found.largest_most <= 0.0) break;
      cap = found.largest_most;
    }
  }

  /// Finds the least cap that leaves a list, and goes up from there.
  void raise_caps() {
    Pass all = pass(limit_);
    if (all.least_sum == kInfinity && limit_ < kInfinity) {
      limit_ = kInfinity;
      for (Site& site : sites_) site.candidates.clear();
      all = pass(limit_);
    }
    if (all.least_sum == kInfinity) return;
    double high = all.least_most;
    double low = 0.0;
    while (!work_.stopped() && low < high / kCapStep) {
      const double cap = low > 0.0 ? std::sqrt(low * high) : high / 2.0;
      const Pass found = pass(cap);
      if (found.least_sum == kInfinity) {
        low = cap;
      } else {
        high = found.least_most;
      }
    }
    // A list whose most is the cap or more takes no less than this.
    for (double cap = high * kCapStep; !work_.stopped();) {
      std::vector<double> caps;
      const double most = std::min(best_, limit_);
      for (; caps.size() < kCapsAtOnce && all.least_sum + cap / kCapStep < most; cap *= kCapStep) {
        caps.push_back(cap);
      }
      if (caps.empty()) break;
      std::vector<Cells> cells(caps.size());
      side_by_side(caps.size(), [&](std::size_t c) { fill(caps[c], cells[c]); });
      for (const Cells& under : cells) (void)look(under);
    }
  }

  void add_sites(LayerTables& tables, const std::vector<std::vector<int>>& sizes_at) {
    std::map<std::vector<const MeshTables*>, std::size_t> known;
    for (int p = 0; p < places_; ++p) {
      for (const int size : sizes_at[at(p)]) {
        Site site;
        site.units = size / unit_;
        for (const DeviceMesh& mesh : meshes(size)) {
          if (!may_hold_a_layer(p * unit_, mesh)) continue;
          const MeshTables& of_mesh = tables.of(microbatches_, p * unit_, mesh);
          if (of_mesh.empty()) continue;
          site.room = work_.room(p * unit_, mesh);
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
  }

  /// The period with which most blocks repeat themselves.
  void find_repeats(Site& site) const {
    std::int64_t most = -1;
    for (int period = 1; period <= kLongestPeriod; ++period) {
      std::vector<int> repeats(at(blocks_ + 1), 0);
      std::int64_t all = 0;
      for (int block = blocks_ - 1; block >= period; --block) {
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
  [[nodiscard]] bool alike(const Site& site, int a, int b) const {
    const int layers = begin_[at(a) + 1] - begin_[at(a)];
    if (begin_[at(b) + 1] - begin_[at(b)] != layers) return false;
    for (const MeshTables* tables : site.tables) {
      for (const LineAnswer& answer : *tables) {
        for (int l = 0; l < layers; ++l) {
          if (!answer.table.alike(begin_[at(a)] + l, begin_[at(b)] + l)) return false;
        }
      }
    }
    return true;
  }

  [[nodiscard]] std::vector<DeviceMesh> meshes(int size) const {
    std::vector<DeviceMesh> all = work_.meshes(size);
    if (sizes_.one_axis && !sizes_.two_axes.contains(size) && all.size() > 1) all.resize(1);
    return all;
  }

  /// Whether some layer's state finds room, split as evenly as can be.
  [[nodiscard]] bool may_hold_a_layer(int device, const DeviceMesh& mesh) {
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

  /// Microbatches in flight at the stage with `left - 1` after it.
  [[nodiscard]] int depth(int left) const {
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

  [[nodiscard]] std::size_t run_index(int first, int last) const {
    return at(first) * at(blocks_) + at(last);
  }

  const Candidates& candidates(Site& site, int left) {
    const int stashes = depth(left);
    const std::size_t d = at(schedule_ == PipelineKind::gpipe ? 0 : stashes - 1);
    if (site.candidates.size() <= d) site.candidates.resize(d + 1);
    Candidates& runs = site.candidates[d];
    if (!runs.both.empty()) return runs;
    const auto chains = chains_of(site, stashes);
    const std::size_t all = at(blocks_) * at(blocks_);
    runs.both.assign(all, kInfinity);
    runs.rest.assign(all, kInfinity);
    for (int i = 0; i < blocks_; ++i) {
      for (int k = i; k < blocks_; ++k) {
        const std::size_t run = run_index(i, k);
        if (k - i < site.repeats[at(i)]) {
          const std::size_t before = run_index(i - site.period, k - site.period);
          runs.both[run] = runs.both[before];
          runs.rest[run] = runs.rest[before];
        } else {
          const Candidate best = best_of(site, chains, stashes, i, k);
          if (best.mesh == nullptr) continue;
          runs.both[run] = both_of(best.times);
          runs.rest[run] = rest_of(best.times);
        }
        const bool fits = runs.rest[run] < kInfinity;
        if (fits && runs.rest[run] >= limit_ * kRoomSlack) break;  // longer runs take longer
      }
    }
    return runs;
  }

  static double both_of(const StageTimes& t) { return (t.forward + t.backward).value; }
  [[nodiscard]] double rest_of(const StageTimes& t) const {
    return (microbatches_ - 1) * both_of(t) + (t.prepare + t.reduce + t.update).value;
  }

  [[nodiscard]] std::vector<Chain> chains_of(const Site& site, int stashes) const {
    std::vector<Chain> chains;
    for (const MeshTables* of_mesh : site.tables) {
      chains.push_back(chain_of(*of_mesh, microbatches_, stashes));
    }
    return chains;
  }

  [[nodiscard]] Candidate best_of(const Site& site, const std::vector<Chain>& chains, int stashes,
                                  int first, int last) const {
    Candidate best;
    double least = kInfinity;
    for (std::size_t m = 0; m < site.meshes.size(); ++m) {
      const auto found = mixture_within(chains[m], begin_[at(first)], begin_[at(last) + 1] - 1,
                                        stashes, site.room);
      if (!found) continue;
      const StageTimes& times = found->figures.times;
      const double time = both_of(times) + rest_of(times);
      if (time >= least) continue;
      least = time;
      best = {times, &site.meshes[m]};
    }
    return best;
  }

  [[nodiscard]] std::size_t cell(int stages, int block, int place) const {
    const std::size_t row = at(stages) * at(blocks_ + 1) + at(block);
    return row * at(places_ + 1) + at(place);
  }

  /// Places that blocks need at the least under a cap: [block] those before it, those from it on.
  struct Room {
    std::vector<int> before, after;
  };

  Room least_room(double cap) {
    Room room;
    room.before.assign(at(blocks_ + 1), places_ + 1);
    room.after.assign(at(blocks_ + 1), places_ + 1);
    room.before.front() = room.after.back() = 0;
    const auto each_run = [&](int first, const auto& visit) {
      for (Site& site : sites_) {
        const Candidates& runs = candidates(site, 1);  // with the fewest stashes
        for (int last = first; last < blocks_; ++last) {
          if (!(runs.rest[run_index(first, last)] < cap * kRoomSlack)) break;
          visit(last, site.units);
        }
      }
    };
    for (int first = blocks_ - 1; first >= 0; --first) {
      each_run(first, [&](int last, int units) {
        room.after[at(first)] = std::min(room.after[at(first)], units + room.after[at(last) + 1]);
      });
    }
    for (int first = 0; first < blocks_; ++first) {
      each_run(first, [&](int last, int units) {
        int& before = room.before[at(last) + 1];
        before = std::min(before, room.before[at(first)] + units);
      });
    }
    return room;
  }

  /// Several threads may do so at once, once all candidates are there.
  void fill(double cap, Cells& cells) {
    const Room room = least_room(cap);
    const std::size_t all = at(most_stages_ + 1) * at(blocks_ + 1) * at(places_ + 1);
    cells.sum.assign(all, kInfinity);
    cells.most.assign(all, 0.0);
    cells.begins.assign(all, FirstStage{});
    for (int p = 0; p <= places_; ++p) cells.sum[cell(0, blocks_, p)] = 0.0;
    for (int left = 1; left <= most_stages_; ++left) {
      for (std::size_t s = 0; s < sites_.size(); ++s) {
        const Candidates& runs = candidates(sites_[s], left);
        for (int first = blocks_ - left; first >= 0; --first) {
          for (int last = left == 1 ? blocks_ - 1 : first; last <= blocks_ - left; ++last) {
            const std::size_t run = run_index(first, last);
            if (!(runs.rest[run] < cap)) break;  // longer runs take longer
            const int end = first == 0 ? 0 : places_ - sites_[s].units - room.after[at(last) + 1];
            extend(cells, {left, first, last, static_cast<int>(s)}, {room.before[at(first)], end},
                   runs.both[run], runs.rest[run]);
          }
        }
      }
    }
  }

  struct Placed {
    int left = 0, first = 0, last = 0, site = 0;
  };

  /// Puts a stage before all that may follow it, wherever its submesh may begin among places.
  void extend(Cells& cells, const Placed& stage, std::pair<int, int> among, double both,
              double rest) {
    const auto& [left, first, last, site] = stage;
    const int units = sites_[at(site)].units;
    const std::size_t after = cell(left - 1, last + 1, units);
    const std::size_t here = cell(left, first, 0);
    const double* messages = &message_[at(first) * at(places_)];
    const bool whole = first == 0 && left == 1;
    const auto& places = sites_[at(site)].places;
    const int end = std::min(among.second, places_ - units);
    for (auto it = std::lower_bound(places.begin(), places.end(), among.first);
         it != places.end() && *it <= end; ++it) {
      const std::size_t p = at(*it);
      const double sum = both + messages[p] + cells.sum[after + p];
      double& least = cells.sum[here + p];
      if (!whole && sum > least) continue;
      const double most = std::max(rest, cells.most[after + p]);
      const bool better = whole ? sum + most < least + cells.most[here + p]
                                : sum < least || most < cells.most[here + p];
      if (!better) continue;
      least = sum;
      cells.most[here + p] = most;
      cells.begins[here + p] = {last, site};
    }
  }

  /// Both ways over the link into a stage that begins there, by one device on each side.
  [[nodiscard]] double message_time(int first, const Link& link) const {
    const std::size_t i = at(begin_[at(first)]);
    return alpa::message_time(traffic_.forward[i] + traffic_.backward[i], link).value;
  }

  void rate(const Cells& cells, int stages) {
    RatedDraft rated;
    Draft& draft = rated.draft;
    draft.microbatches = microbatches_;
    draft.schedule = schedule_;
    if (schedule_ == PipelineKind::one_f_one_b) draft.warm_up = work_.warm_up(stages);
    std::vector<StageTimes> times;
    std::vector<const Site*> sites;
    int block = 0;
    int place = 0;
    for (int left = stages; left > 0; --left) {
      const FirstStage& from = cells.begins[cell(left, block, place)];
      const Site& site = sites_[at(from.site)];
      const auto chains = chains_of(site, depth(left));
      const Candidate stage = best_of(site, chains, depth(left), block, from.last);
      draft.stages.push_back(
          {begin_[at(block)], begin_[at(from.last) + 1] - 1, place * unit_, *stage.mesh});
      times.push_back(stage.times);
      sites.push_back(&site);
      block = from.last + 1;
      place += site.units;
    }
    const std::string key = key_of(draft);
    if (found_.contains(key)) return;
    const auto transfers = estimated_transfers(draft, traffic_, work_.cluster());
    rated.time = modelled_price(work_.cluster(), draft, times, transfers);
    if (schedule_ == PipelineKind::one_f_one_b) rate_deeper(rated, sites, times, transfers);
    rated.time += work_.norm();
    found_.emplace(key, std::move(rated));
  }

  /// Depths that hide the messages, with choices that leave room for them, if that is better.
  void rate_deeper(RatedDraft& rated, const std::vector<const Site*>& sites,
                   const std::vector<StageTimes>& times,
                   const std::vector<StageTransfer>& transfers) const {
    const SteadyState steady(times, transfers);
    if (!work_.deepens() || !deeper_pays(steady, rated.draft.warm_up)) return;
    std::vector<int> most = useful_warm_up(static_cast<int>(sites.size()), microbatches_);
    for (int attempt = 0; attempt < kMostDepthsRated; ++attempt) {
      RatedDraft deep = rated;
      deep.draft.warm_up = steady.least_depths(most);
      std::vector<StageTimes> of_deep;
      for (std::size_t s = 0; s < sites.size() && of_deep.size() == s; ++s) {
        DraftStage& stage = deep.draft.stages[s];
        const int first = block_of(stage.first_layer);
        const int last = block_of(stage.last_layer + 1) - 1;
        const int stashes = in_flight(deep.draft, s);
        const auto chains = chains_of(*sites[s], stashes);
        const Candidate best = best_of(*sites[s], chains, stashes, first, last);
        if (best.mesh == nullptr) break;
        stage.mesh = *best.mesh;
        of_deep.push_back(best.times);
      }
      if (of_deep.size() == sites.size()) {
        deep.time = modelled_price(work_.cluster(), deep.draft, of_deep, transfers);
        if (deep.time < rated.time) rated = std::move(deep);
        return;
      }
      const std::size_t s = of_deep.size();
      if (!shallower(most, s, deep.draft.warm_up[s] - 1)) return;
    }
  }

  [[nodiscard]] int block_of(int layer) const {
    return static_cast<int>(std::lower_bound(begin_.begin(), begin_.end(), layer) - begin_.begin());
  }

  double limit_;
  SearchWork& work_;
  int microbatches_;
  PipelineKind schedule_;
  std::vector<int> begin_;  ///< [block] its first layer, and the number of layers
  int blocks_ = 0;
  int unit_ = 1;  ///< devices between places
  int places_ = 0;
  int most_stages_;
  const Sizes& sizes_;
  BorderTraffic traffic_;
  std::vector<double> message_;  ///< [block * places + place]: into a stage that begins there
  std::vector<Site> sites_;
  std::int64_t least_state_ = -1;  ///< bytes of the layer with the smallest state
  double best_ = kInfinity;        ///< sum + most
  std::map<std::string, RatedDraft> found_;
};

}  // namespace

std::vector<RatedDraft> rated_drafts(SearchWork& work, LayerTables& tables, int microbatches,
                                     PipelineKind schedule, const Sizes& sizes, double limit) {
  Programme programme(work, tables, microbatches, schedule, sizes, limit);
  const SearchWork::Clock clock(work, "dynamic programme");
  return programme.run();
}

}  // namespace alpa
