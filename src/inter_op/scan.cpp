#include "scan.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "kernel_bound.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kManyTables = 64;  ///< (numbers of microbatches x meshes)
constexpr std::size_t kManyOperators = 400;
constexpr double kWorse = 1.1;        ///< than the best: fewer microbatches are no better
constexpr double kFarAbove = 1.25;    ///< the best: drafts that are not worth choosing
constexpr double kOverrated = 1.25;   ///< what cuts are chosen by may be so far above the makespan
constexpr int kVain = 2;              ///< numbers of microbatches for which nothing fits
constexpr int kRoundsOfPipeline = 2;  ///< microbatches a device: a common number in deep pipelines
constexpr double kGain = 0.999;       ///< of the time with fewer tables: other numbers may gain too

class Scan {
 public:
  Scan(SearchWork& work, LayerTables& tables, double hopeless, const ScanStart& start,
       Scanned& known)
      : work_(work),
        tables_(tables),
        hopeless_(hopeless),
        start_(start),
        known_(known),
        large_(work.operators(work.microbatch_counts().front()) > kManyOperators),
        deep_(large_ && work.layers() > kMostBlocks) {}

  std::vector<RatedDraft> run() {
    std::set<std::string> meshes;
    for (const int size : submesh_sizes(work_.cluster(), 0)) {
      for (const DeviceMesh& mesh : work_.meshes(size)) meshes.insert(work_.costs(0, mesh).key());
    }
    const auto& counts = work_.microbatch_counts();
    if (deep_ && !known_.best.empty()) {
      look_again();
    } else if (deep_ && !start_.microbatches.empty()) {
      look_from_start();
    } else if (deep_) {
      look_about_the_usual();
    } else if (large_ || counts.size() * meshes.size() > kManyTables) {
      look_where_it_matters();
      look_at_all_sizes();
    } else {
      for (std::size_t b = 0; b < counts.size(); ++b) (void)look(b, {});
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
  /// Less room makes nothing faster: what took longer before is no better now.
  void look_again() {
    const Sizes sizes{.regular = false, .one_axis = true, .two_axes = known_.two_axes};
    const auto& counts = work_.microbatch_counts();
    const auto before = known_.best;
    std::vector<std::size_t> order;
    for (std::size_t b = 0; b < counts.size(); ++b) {
      const auto it = before.find(counts[b]);
      if (it != before.end() && it->second.time < kInfinity) order.push_back(b);
    }
    const auto time_of = [&](std::size_t b) { return before.at(counts[b]).time; };
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return time_of(a) < time_of(b); });
    for (const std::size_t b : order) {
      if (time_of(b) < least_) {
        (void)look(b, sizes);
      } else {
        drafts_.push_back(before.at(counts[b]));
      }
    }
  }

  void look_from_start() {
    known_.two_axes = start_.two_axes;
    const Sizes sizes{.regular = false, .one_axis = true, .two_axes = start_.two_axes};
    look_at(start_.microbatches, sizes);
    if (least_ < kGain * start_.time) look_beside(sizes);
  }

  void look_at(const std::vector<int>& microbatches, const Sizes& sizes) {
    for (std::size_t b = 0; b < work_.microbatch_counts().size(); ++b) {
      const int count = work_.microbatch_counts()[b];
      const bool wanted =
          std::find(microbatches.begin(), microbatches.end(), count) != microbatches.end();
      if (wanted) (void)once(b, sizes);
    }
  }

  void look_beside(const Sizes& sizes) {
    while (!work_.stopped() && least_ < kInfinity) {
      const std::size_t best = best_;
      if (best > 0) (void)once(best - 1, sizes);
      if (best + 1 < work_.microbatch_counts().size()) (void)once(best + 1, sizes);
      if (best_ == best) break;
    }
  }

  std::optional<double> once(std::size_t b, const Sizes& sizes) {
    if (looked_.contains(b)) return std::nullopt;
    return look(b, sizes);
  }

  /// On submeshes that divide the cluster.
  void look_where_it_matters() {
    const auto& near = start_.microbatches;
    const std::size_t all = work_.microbatch_counts().size();
    const Sizes sizes{.regular = true, .one_axis = large_};
    int vain = 0;
    look_at(near, sizes);
    // Without a pipeline few microbatches may be best, with one many: from both ends.
    for (std::size_t b = 0; near.empty() && b < all; b += 2) {
      const auto found = once(b, sizes);
      if (large_ && found && *found < kInfinity) break;
    }
    for (std::size_t back = 0; near.empty() && back < all && vain < kVain; back += 2) {
      const auto found = once(all - 1 - back, sizes);
      if (!found) continue;
      if (*found == kInfinity) ++vain;
      if (*found > kWorse * least_ && least_ < kInfinity) break;
    }
    look_beside(sizes);
  }

  /// With the best number of microbatches.
  void look_at_all_sizes() {
    if (least_ > hopeless_ || drafts_.empty()) return;
    Sizes sizes{.one_axis = large_};
    (void)look(best_, sizes);
    if (!large_) return;
    known_.two_axes = sizes.two_axes = sizes_of(work_, best_draft().draft);
    known_.on_two_axes.insert(work_.microbatch_counts()[best_]);
    if (!sizes.two_axes.empty()) (void)look(best_, sizes);
  }

  /// Very deep lines need a pipeline: uphill from where one is full most of the time.
  void look_about_the_usual() {
    const auto& counts = work_.microbatch_counts();
    const Sizes regular{.regular = true, .one_axis = true};
    const auto usual =
        std::lower_bound(counts.begin(), counts.end(), kRoundsOfPipeline * work_.devices());
    for (auto b = usual; b != counts.end() && least_ == kInfinity; ++b) {
      (void)once(static_cast<std::size_t>(b - counts.begin()), regular);
    }
    for (auto b = usual; b != counts.begin() && least_ == kInfinity; --b) {
      (void)once(static_cast<std::size_t>(b - counts.begin()) - 1, regular);
    }
    look_beside(regular);
    if (least_ > hopeless_ || drafts_.empty()) return;
    known_.two_axes = sizes_of(work_, best_draft().draft);
    (void)look(best_, {.regular = false, .one_axis = true, .two_axes = known_.two_axes});
  }

  /// @pre there is one
  [[nodiscard]] const RatedDraft& best_draft() const {
    return *std::min_element(
        drafts_.begin(), drafts_.end(),
        [](const RatedDraft& a, const RatedDraft& b) { return a.time < b.time; });
  }

  /// Time of the best draft with a number of microbatches; infinite if none fits. Nothing if its
  /// kernels alone take too long.
  std::optional<double> look(std::size_t b, const Sizes& sizes) {
    const bool first_look = looked_.insert(b).second;
    if (work_.stopped()) return std::nullopt;
    const int microbatches = work_.microbatch_counts()[b];
    if (const auto known = known_.best.find(microbatches); known != known_.best.end()) {
      if (known->second.time > hopeless_) return known->second.time;
    }
    const KernelBound kernels(work_.graph(microbatches), work_.line(), work_.cluster(),
                              microbatches);
    if (kernels.step(1).back() / work_.devices() > std::min(hopeless_, kWorse * least_)) {
      return std::nullopt;
    }
    work_.tell("stages", 0.0);
    RatedDraft best{kInfinity, {}};
    const double limit = kOverrated * std::min(hopeless_, kFarAbove * least_);
    auto schedules = work_.schedules(work_.stage_counts().second, microbatches);
    if (large_) schedules.resize(1);
    for (const PipelineKind schedule : schedules) {
      for (RatedDraft& draft : rated_drafts(work_, tables_, microbatches, schedule, sizes, limit)) {
        if (draft.time < best.time) best = draft;
        if (draft.time < least_) {
          least_ = draft.time;
          best_ = b;
        }
        drafts_.push_back(std::move(draft));
      }
    }
    const double least = best.time;
    auto& known = known_.best[microbatches];
    if (first_look || least < known.time) known = std::move(best);
    return least;
  }

  SearchWork& work_;
  LayerTables& tables_;
  double hopeless_;
  const ScanStart& start_;
  Scanned& known_;
  bool large_, deep_;  ///< many operators; cut between blocks of layers
  std::vector<RatedDraft> drafts_;
  std::set<std::size_t> looked_;  ///< places of numbers of microbatches
  double least_ = kInfinity;
  std::size_t best_ = 0;  ///< place of the best draft's number of microbatches
};

}  // namespace

std::set<int> sizes_of(SearchWork& work, const Draft& draft) {
  std::set<int> sizes;
  for (const DraftStage& stage : draft.stages) {
    const int size = num_devices(stage.mesh);
    if (work.meshes(size).size() > 1) sizes.insert(size);
  }
  return sizes;
}

std::vector<RatedDraft> scan(SearchWork& work, LayerTables& tables, double hopeless,
                             const ScanStart& start, Scanned& known) {
  return Scan(work, tables, hopeless, start, known).run();
}

}  // namespace alpa
