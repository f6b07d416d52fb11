#include "structure_programme.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "side_by_side.hpp"
#include "stage_sites.hpp"
#include "warm_up.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMostStages = 32;
constexpr double kCapStep = 1.02;  ///< where there is much to do
constexpr std::size_t kCapsAtOnce = 4;
constexpr int kFewCells = 512;          ///< (layers x devices), where every cap is tried
constexpr std::size_t kMostRated = 32;  ///< drafts that are handed on
constexpr double kWorthRating = 1.25;   ///< times the best
constexpr double kRoomSlack = 1.05;     ///< of a cap: more stashes may make other tables best
constexpr int kMostDepthsRated = 4;     ///< of one cut, where memory is short

using Run = StageSites::Runs::Run;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// First stage of a list of stages.
struct FirstStage {
  int last = -1;  ///< block
  int site = -1;
  friend auto operator<=>(const FirstStage&, const FirstStage&) = default;
};

/// The best lists of stages, [stages left][block][place].
struct Cells {
  std::vector<double> sum;   ///< of t; infinite: no list, and nothing said of it elsewhere
  std::vector<double> most;  ///< largest (B - 1) t + u
  std::vector<FirstStage> begins;
  std::vector<std::pair<int, int>> finite;  ///< [stages left][block] first and last such place
};

class Programme {
 public:
  Programme(SearchWork& work, LayerTables& tables, int microbatches, PipelineKind schedule,
            const Sizes& sizes, double limit)
      : limit_(limit),
        work_(work),
        microbatches_(microbatches),
        schedule_(schedule),
        sites_(work, tables, microbatches, schedule, sizes),
        blocks_(sites_.blocks()),
        places_(sites_.places()),
        most_stages_(
            std::max(work.stage_counts().first, std::min(work.stage_counts().second, kMostStages))),
        traffic_(border_traffic(work.graph(microbatches), work.line())),
        cells_(kCapsAtOnce) {
    sites_.limit(limit);
    most_stages_ = std::min({most_stages_, blocks_, places_});
    for (int s = 0; s < sites_.count(); ++s) {
      const auto& places = sites_.site(s).places;
      std::vector<std::size_t>& next = next_place_.emplace_back();
      for (int p = 0; p <= places_; ++p) {
        const auto it = std::lower_bound(places.begin(), places.end(), p);
        next.push_back(static_cast<std::size_t>(it - places.begin()));
      }
    }
    std::vector<Link> into(at(places_));
    for (int p = 1; p < places_; ++p) {
      into[at(p)] = link_between(work.cluster(), sites_.device(p) - 1, sites_.device(p));
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
    std::vector<RatedDraft> rated = std::move(found_);
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
    sites_.make_runs(most_stages_);
    fill(cap, cells_.front());
    return look(cells_.front());
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
      sites_.limit(limit_);
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
      side_by_side(caps.size(), [&](std::size_t c) { fill(caps[c], cells_[c]); });
      for (std::size_t c = 0; c < caps.size(); ++c) (void)look(cells_[c]);
    }
  }

  [[nodiscard]] std::size_t cell(int stages, int block, int place) const {
    const std::size_t row = at(stages) * at(blocks_ + 1) + at(block);
    return row * at(places_ + 1) + at(place);
  }

  /// Places that blocks need at the least under a cap: [block] those before it, those from it on.
  struct Room {
    std::vector<int> before, after;
  };

  [[nodiscard]] Room least_room(double cap) const {
    Room room;
    room.before.assign(at(blocks_ + 1), places_ + 1);
    room.after.assign(at(blocks_ + 1), places_ + 1);
    room.before.front() = room.after.back() = 0;
    std::vector<const StageSites::Runs*> of_site;  // with the fewest stashes
    for (int s = 0; s < sites_.count(); ++s) of_site.push_back(&sites_.runs(s, 1));
    const auto each_run = [&](int first, const auto& visit) {
      for (int s = 0; s < sites_.count(); ++s) {
        const StageSites::Runs::Row& runs = of_site[at(s)]->from[at(first)];
        for (std::size_t k = 0; k < runs.size() && runs[k].rest < cap * kRoomSlack; ++k) {
          visit(first + static_cast<int>(k), sites_.site(s).units);
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

  /// Several threads may do so at once, once all runs are there.
  void fill(double cap, Cells& cells) const {
    const std::size_t rows = at(most_stages_ + 1) * at(blocks_ + 1);
    cells.sum.assign(rows * at(places_ + 1), kInfinity);
    cells.most.resize(rows * at(places_ + 1));
    cells.begins.resize(rows * at(places_ + 1));
    cells.finite.assign(rows, {places_ + 1, -1});
    const Room room = least_room(cap);
    if (room.after.front() > places_) return;
    for (int p = 0; p <= places_; ++p) {
      cells.sum[cell(0, blocks_, p)] = 0.0;
      cells.most[cell(0, blocks_, p)] = 0.0;
    }
    cells.finite[at(blocks_)] = {0, places_};
    for (int left = 1; left <= most_stages_; ++left) {
      for (int s = 0; s < sites_.count(); ++s) {
        const StageSites::Runs& runs = sites_.runs(s, left);
        for (int first = blocks_ - left; first >= 0; --first) {
          if (room.before[at(first)] > places_) continue;
          extend(cells, room, cap, {left, first, s}, runs.from[at(first)]);
        }
      }
    }
  }

  struct Place {
    int left = 0, first = 0, site = 0;
  };

  /// Puts stages that begin with a block on a site before all that may follow them.
  void extend(Cells& cells, const Room& room, double cap, const Place& at_block,
              const StageSites::Runs::Row& runs) const {
    const auto& [left, first, site] = at_block;
    const int units = sites_.site(site).units;
    const int most = std::min(blocks_ - left - first + 1, static_cast<int>(runs.size()));
    for (int k = left == 1 ? blocks_ - 1 - first : 0; k < most; ++k) {
      const Run& run = runs[at(k)];
      if (!(run.rest < cap)) break;  // longer runs take longer
      const int next = first + k + 1;
      const auto [low, high] = cells.finite[at(left - 1) * at(blocks_ + 1) + at(next)];
      const int begin = std::max(room.before[at(first)], low - units);
      int end = std::min(places_ - room.after[at(next)], high) - units;
      if (first == 0) end = std::min(end, 0);
      if (begin <= end) extend(cells, at_block, next - 1, {begin, end}, run);
    }
  }

  /// The same of one stage, wherever its submesh may begin among places.
  void extend(Cells& cells, const Place& at_block, int last, std::pair<int, int> among,
              const Run& run) const {
    const auto& [left, first, site] = at_block;
    const std::size_t after = cell(left - 1, last + 1, sites_.site(site).units);
    const std::size_t here = cell(left, first, 0);
    const double* messages = &message_[at(first) * at(places_)];
    const bool whole = first == 0 && left == 1;
    auto& finite = cells.finite[at(left) * at(blocks_ + 1) + at(first)];
    const auto& places = sites_.site(site).places;
    for (std::size_t i = next_place_[at(site)][at(among.first)];
         i < places.size() && places[i] <= among.second; ++i) {
      const std::size_t p = at(places[i]);
      if (cells.sum[after + p] == kInfinity) continue;
      const double sum = run.both + messages[p] + cells.sum[after + p];
      double& least = cells.sum[here + p];
      if (!whole && sum > least) continue;
      const double most = std::max(run.rest, cells.most[after + p]);
      const bool better = whole ? sum + most < least + cells.most[here + p]
                                : sum < least || most < cells.most[here + p];
      if (!better) continue;
      least = sum;
      cells.most[here + p] = most;
      cells.begins[here + p] = {last, site};
      finite = {std::min(finite.first, places[i]), std::max(finite.second, places[i])};
    }
  }

  /// Both ways over the link into a stage that begins there, by one device on each side.
  [[nodiscard]] double message_time(int first, const Link& link) const {
    const std::size_t i = at(sites_.first_layer(first));
    return alpa::message_time(traffic_.forward[i] + traffic_.backward[i], link).value;
  }

  void rate(const Cells& cells, int stages) {
    std::vector<FirstStage> list;
    int block = 0;
    int place = 0;
    for (int left = stages; left > 0; --left) {
      list.push_back(cells.begins[cell(left, block, place)]);
      block = list.back().last + 1;
      place += sites_.site(list.back().site).units;
    }
    if (!rated_.insert(list).second) return;
    RatedDraft rated;
    Draft& draft = rated.draft;
    draft.microbatches = microbatches_;
    draft.schedule = schedule_;
    if (schedule_ == PipelineKind::one_f_one_b) draft.warm_up = work_.warm_up(stages);
    std::vector<StageTimes> times;
    block = place = 0;
    for (const FirstStage& from : list) {
      const int left = stages - static_cast<int>(times.size());
      const auto stage = sites_.best_of(from.site, sites_.depth(left), block, from.last);
      draft.stages.push_back({sites_.first_layer(block), sites_.first_layer(from.last + 1) - 1,
                              sites_.device(place), *stage.mesh});
      times.push_back(stage.times);
      block = from.last + 1;
      place += sites_.site(from.site).units;
    }
    const auto transfers = estimated_transfers(draft, traffic_, work_.cluster());
    rated.time = modelled_price(work_.cluster(), draft, times, transfers);
    if (schedule_ == PipelineKind::one_f_one_b) rate_deeper(rated, list, times, transfers);
    rated.time += work_.norm();
    found_.push_back(std::move(rated));
  }

  /// Depths that hide the messages, with choices that leave room for them, if that is better.
  void rate_deeper(RatedDraft& rated, const std::vector<FirstStage>& list,
                   const std::vector<StageTimes>& times,
                   const std::vector<StageTransfer>& transfers) {
    const SteadyState steady(times, transfers);
    if (!work_.deepens() || !deeper_pays(steady, rated.draft.warm_up)) return;
    std::vector<int> most = useful_warm_up(static_cast<int>(list.size()), microbatches_);
    for (int attempt = 0; attempt < kMostDepthsRated; ++attempt) {
      RatedDraft deep = rated;
      deep.draft.warm_up = steady.least_depths(most);
      std::vector<StageTimes> of_deep;
      for (std::size_t s = 0; s < list.size() && of_deep.size() == s; ++s) {
        DraftStage& stage = deep.draft.stages[s];
        const auto best = sites_.best_of(list[s].site, in_flight(deep.draft, s),
                                         sites_.block_of(stage.first_layer), list[s].last);
        if (best.mesh == nullptr) break;
        stage.mesh = *best.mesh;
        of_deep.push_back(best.times);
      }
      if (of_deep.size() == list.size()) {
        deep.time = modelled_price(work_.cluster(), deep.draft, of_deep, transfers);
        if (deep.time < rated.time) rated = std::move(deep);
        return;
      }
      const std::size_t s = of_deep.size();
      if (!shallower(most, s, deep.draft.warm_up[s] - 1)) return;
    }
  }

  double limit_;
  SearchWork& work_;
  int microbatches_;
  PipelineKind schedule_;
  StageSites sites_;
  int blocks_;
  int places_;
  int most_stages_;
  BorderTraffic traffic_;
  std::vector<std::vector<std::size_t>> next_place_;  ///< [site][place] the first from there on
  std::vector<double> message_;  ///< [block * places + place]: into a stage that begins there
  std::vector<Cells> cells_;     ///< of caps that are looked at at once
  double best_ = kInfinity;      ///< sum + most
  std::set<std::vector<FirstStage>> rated_;
  std::vector<RatedDraft> found_;
};

}  // namespace

std::vector<RatedDraft> rated_drafts(SearchWork& work, LayerTables& tables, int microbatches,
                                     PipelineKind schedule, const Sizes& sizes, double limit) {
  Programme programme(work, tables, microbatches, schedule, sizes, limit);
  const SearchWork::Clock clock(work, "dynamic programme");
  return programme.run();
}

}  // namespace alpa
