#include "scan.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "kernel_bound.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kManyTables = 64;  ///< (numbers of microbatches x meshes)
constexpr std::size_t kManyOperators = 400;
constexpr double kWorse = 1.1;       ///< than the best: fewer microbatches are no better
constexpr double kFarAbove = 1.25;   ///< the best: drafts that are not worth choosing
constexpr double kOverrated = 1.25;  ///< what cuts are chosen by may be so far above the makespan
constexpr int kVain = 2;             ///< numbers of microbatches for which nothing fits

class Scan {
 public:
  Scan(SearchWork& work, LayerTables& tables, double hopeless, std::map<int, double>& known)
      : work_(work), tables_(tables), hopeless_(hopeless), known_(known) {}

  /// @param near numbers of microbatches to begin with; empty: all that may matter
  std::vector<RatedDraft> run(const std::vector<int>& near) {
    std::set<std::string> meshes;
    for (const int size : submesh_sizes(work_.cluster(), 0)) {
      for (const DeviceMesh& mesh : work_.meshes(size)) meshes.insert(work_.costs(0, mesh).key());
    }
    const auto& counts = work_.microbatch_counts();
    large_ = work_.operators(counts.front()) > kManyOperators;
    if (large_ || counts.size() * meshes.size() > kManyTables) {
      look_where_it_matters(near);
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
  void look_where_it_matters(const std::vector<int>& near) {
    const std::size_t all = work_.microbatch_counts().size();
    Sizes sizes{.regular = true, .one_axis = large_};
    std::set<std::size_t> looked;
    int vain = 0;
    const auto once = [&](std::size_t b) -> std::optional<double> {
      if (!looked.insert(b).second) return std::nullopt;
      return look(b, sizes);
    };
    for (std::size_t b = 0; b < all; ++b) {
      const int count = work_.microbatch_counts()[b];
      if (std::find(near.begin(), near.end(), count) != near.end()) (void)once(b);
    }
    // Without a pipeline few microbatches may be best, with one many: from both ends.
    for (std::size_t b = 0; near.empty() && b < all; b += 2) {
      const auto found = once(b);
      if (large_ && found && *found < kInfinity) break;
    }
    for (std::size_t back = 0; near.empty() && back < all && vain < kVain; back += 2) {
      const auto found = once(all - 1 - back);
      if (!found) continue;
      if (*found == kInfinity) ++vain;
      if (*found > kWorse * least_ && least_ < kInfinity) break;
    }
    while (!work_.stopped() && least_ < kInfinity) {
      const std::size_t best = best_;
      if (best > 0) (void)once(best - 1);
      if (best + 1 < all) (void)once(best + 1);
      if (best_ == best) break;
    }
    if (least_ > hopeless_ || drafts_.empty()) return;
    sizes.regular = false;
    (void)look(best_, sizes);
    if (!large_) return;
    const auto best =
        std::min_element(drafts_.begin(), drafts_.end(),
                         [](const RatedDraft& a, const RatedDraft& b) { return a.time < b.time; });
    for (const DraftStage& stage : best->draft.stages) {
      const int size = num_devices(stage.mesh);
      if (work_.meshes(size).size() > 1) sizes.two_axes.insert(size);
    }
    if (!sizes.two_axes.empty()) (void)look(best_, sizes);
  }

  /// Time of the best draft with a number of microbatches; infinite if none fits. Nothing if its
  /// kernels alone take too long.
  std::optional<double> look(std::size_t b, const Sizes& sizes) {
    if (work_.stopped()) return std::nullopt;
    const int microbatches = work_.microbatch_counts()[b];
    if (const auto known = known_.find(microbatches); known != known_.end()) {
      if (known->second > hopeless_) return known->second;
    }
    const KernelBound kernels(work_.graph(microbatches), work_.line(), work_.cluster(),
                              microbatches);
    if (kernels.step(1).back() / work_.devices() > std::min(hopeless_, kWorse * least_)) {
      return std::nullopt;
    }
    work_.tell("stages", 0.0);
    double least = kInfinity;
    const double limit = kOverrated * std::min(hopeless_, kFarAbove * least_);
    auto schedules = work_.schedules(work_.stage_counts().second, microbatches);
    if (large_) schedules.resize(1);
    for (const PipelineKind schedule : schedules) {
      for (RatedDraft& draft : rated_drafts(work_, tables_, microbatches, schedule, sizes, limit)) {
        least = std::min(least, draft.time);
        if (draft.time < least_) {
          least_ = draft.time;
          best_ = b;
        }
        drafts_.push_back(std::move(draft));
      }
    }
    const auto [known, is_new] = known_.try_emplace(microbatches, least);
    known->second = std::min(known->second, least);
    return least;
  }

  SearchWork& work_;
  LayerTables& tables_;
  double hopeless_;
  std::map<int, double>& known_;  ///< [microbatches]
  bool large_ = false;
  std::vector<RatedDraft> drafts_;
  double least_ = kInfinity;
  std::size_t best_ = 0;  ///< place of the best draft's number of microbatches
};

}  // namespace

std::vector<RatedDraft> scan(SearchWork& work, LayerTables& tables, double hopeless,
                             std::map<int, double>& known) {
  return Scan(work, tables, hopeless, known).run({});
}

std::vector<RatedDraft> scan_near(SearchWork& work, LayerTables& tables, double hopeless,
                                  const std::vector<int>& microbatches) {
  std::map<int, double> nothing;
  return Scan(work, tables, hopeless, nothing).run(microbatches);
}

}  // namespace alpa
