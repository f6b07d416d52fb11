#include "wide_search.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "hand_plans.hpp"
#include "kernel_bound.hpp"
#include "layer_tables.hpp"
#include "neighbours.hpp"
#include "scan.hpp"
#include "stage_solver.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kMostDrafts = 8;  ///< of each recomputation that are chosen stage by stage
constexpr double kFarAbove = 1.25;      ///< of the best: not worth choosing
constexpr double kNear = 1.05;          ///< to the best: worth moving about
constexpr double kPoor = 1.5;           ///< times its bound: plans by hand may be better
constexpr int kMostMoves = 12;          ///< improvements of the best draft
constexpr int kMostLowered = 8;         ///< drafts
constexpr int kMostRounds = 3;
constexpr double kClose = 0.9999;  ///< to the best price: not worth lowering

/// The search with one thing said about what backward computes again, or with every layer free to
/// be one or the other.
class Variant {
 public:
  Variant(SearchWork& work, std::vector<Recompute> recompute)
      : recompute_(std::move(recompute)), work_(work), tables_(work), solver_(work, tables_) {}

  /// Each layer like one of these variants.  @param kinds kept by reference
  Variant(SearchWork& work, const std::vector<Variant*>& kinds)
      : work_(work), tables_(work, kinds_of(kinds)), solver_(work, tables_) {}

  /// @param start where to begin, if other variants have been looked at
  void scan(double hopeless, const ScanStart& start = {}) {
    work_.recompute(recompute_);
    known_.on_two_axes.clear();
    rated_ = alpa::scan(work_, tables_, hopeless, start, known_);
    modelled_.clear();
  }

  /// Of the best draft: by the tables, or by the figures of its stages once they are chosen.
  [[nodiscard]] double rated() const { return rated_.empty() ? kInfinity : rated_.front().time; }
  [[nodiscard]] double modelled() const {
    return modelled_.empty() ? kInfinity : modelled_.begin()->first;
  }

  /// Models the best drafts; of each other number of microbatches the best one too, as long as it
  /// looks better than what the drafts before it came to.
  void choose(double hopeless) {
    work_.recompute(recompute_);
    std::size_t tried = 0;
    std::set<int> counts;
    for (const RatedDraft& draft : rated_) {
      if (work_.stopped()) break;
      if (draft.time > hopeless) {
        renew_best();
        if (modelled_.empty() || draft.time > modelled()) break;
      }
      const bool new_count = counts.insert(draft.draft.microbatches).second;
      if (tried >= kMostDrafts && !new_count) continue;
      work_.tell("plans", std::min(1.0, static_cast<double>(tried++) / kMostDrafts));
      hope_for(draft.draft);
    }
    renew_best();
  }

  /// Cuts on meshes of two axes, of the best draft's sizes, for its number of microbatches: scans
  /// look at those for the number that the tables rate best.
  void look_at_two_axes(double hopeless) {
    if (modelled_.empty()) return;
    work_.recompute(recompute_);
    const Draft best = modelled_.begin()->second;
    if (!known_.on_two_axes.insert(best.microbatches).second) return;
    const Sizes sizes{.one_axis = true, .two_axes = sizes_of(work_, best)};
    std::size_t tried = 0;
    for (RatedDraft& draft :
         rated_drafts(work_, tables_, best.microbatches, best.schedule, sizes, hopeless)) {
      if (work_.stopped() || tried++ == kMostDrafts || draft.time > hopeless) break;
      hope_for(draft.draft);
    }
    renew_best();
  }

  /// Goes from the best draft to the best of its neighbours as long as that is better.
  void climb() {
    work_.recompute(recompute_);
    std::set<std::string> seen;
    for (const auto& [time, draft] : modelled_) seen.insert(key_of(draft));
    for (int move = 0; move < kMostMoves && !modelled_.empty(); ++move) {
      const double before = modelled();
      const Draft from = modelled_.begin()->second;
      std::vector<Draft> fresh;
      for (Draft& next : neighbours(work_, from)) {
        if (seen.insert(key_of(next)).second) fresh.push_back(std::move(next));
      }
      solver_.prepare(fresh);
      for (const Draft& next : fresh) {
        if (work_.stopped()) return;
        work_.tell("neighbours", static_cast<double>(move) / kMostMoves);
        hope_for(next);
      }
      renew_best();
      if (modelled() >= before) break;
    }
  }

  /// Lowers and packs the best draft.
  void confirm() {
    work_.recompute(recompute_);
    (void)solver_.offer(modelled_.begin()->second);
  }
  /// The best draft is left out from then on.
  void drop_best() { modelled_.erase(modelled_.begin()); }

  /// Stages of the best plan, which is of this kind, chosen by themselves.
  void polish() {
    work_.recompute(recompute_);
    if (!ties(work_, work_.best()->plan.num_microbatches)) return;
    (void)solver_.offer(draft_of(*work_.best()), StageSolver::Care::alone);
  }

  /// What packing takes beyond figures, where that kept a plan from fitting.
  [[nodiscard]] bool learn_packing() { return solver_.learn_packing(); }
  void forget() {
    solver_.forget();
    outdated_.clear();
    for (const auto& [time, draft] : modelled_) outdated_.insert(key_of(draft));
  }

  /// Makes sure that the best draft is modelled with its memory and what is known of packing, if it
  /// is below a limit.
  void renew_best(double limit = kInfinity) {
    work_.recompute(recompute_);
    while (modelled() < limit && !work_.stopped()) {
      const Draft best = modelled_.begin()->second;
      if (outdated_.erase(key_of(best)) == 0) break;
      modelled_.erase(modelled_.begin());
      if (const auto time = solver_.modelled(best)) modelled_.emplace(*time, best);
    }
  }

  [[nodiscard]] const std::vector<Recompute>& recompute() const { return recompute_; }
  /// Of the best draft by the tables.  @pre there is one
  [[nodiscard]] int microbatches() const { return rated_.front().draft.microbatches; }
  /// The same of the best by the figures of its stages.  @pre there is one
  [[nodiscard]] int modelled_microbatches() const { return modelled_.begin()->second.microbatches; }
  [[nodiscard]] const std::set<int>& two_axes() const { return known_.two_axes; }
  /// Whether the best draft by the tables computes anything again.
  [[nodiscard]] bool recomputes() {
    return !rated_.empty() && solver_.recomputes(rated_.front().draft);
  }

 private:
  /// Models a draft once no other looks better.
  void hope_for(const Draft& draft) {
    const auto time = solver_.hoped_for(draft);
    if (!time) return;
    modelled_.emplace(*time, draft);
    outdated_.insert(key_of(draft));
  }

  static std::vector<LayerTables::Kind> kinds_of(const std::vector<Variant*>& variants) {
    std::vector<LayerTables::Kind> kinds;
    for (Variant* variant : variants) kinds.push_back({variant->recompute_, &variant->tables_});
    return kinds;
  }

  std::vector<Recompute> recompute_;
  SearchWork& work_;
  LayerTables tables_;
  StageSolver solver_;
  std::vector<RatedDraft> rated_;  ///< cheapest first
  Scanned known_;
  std::multimap<double, Draft> modelled_;  ///< by what their figures come to
  /// Keys of those modelled with less known of packing, or without regard to memory.
  std::set<std::string> outdated_;
};

class WideSearch {
 public:
  WideSearch(SearchWork& work, const std::vector<std::vector<Recompute>>& kinds,
             std::function<void(double seconds)> rated)
      : work_(work),
        rated_(std::move(rated)),
        tied_(ties(work, work.microbatch_counts().front())),
        deep_(tied_ && work.layers() > kMostBlocks) {
    std::vector<Variant*> all;
    for (const auto& recompute : kinds) {
      kinds_.push_back(std::make_unique<Variant>(work, recompute));
      all.push_back(kinds_.back().get());
    }
    alike_ = all;
    if (tied_ && kinds.size() > 1) alike_.resize(deep_ ? 0 : 1);
    variants_ = alike_;
    const std::size_t first = tied_ ? 2 : kinds.size();
    for (std::size_t count = first; kinds.size() > 1 && count <= kinds.size(); ++count) {
      const std::vector<Variant*> some(all.begin(),
                                       all.begin() + static_cast<std::ptrdiff_t>(count));
      mixed_.push_back(std::make_unique<Variant>(work, some));
      variants_.push_back(mixed_.back().get());
    }
  }

  void run() {
    work_.forget_packing();
    bool learnt = true;
    for (int round = 0; learnt && round < kMostRounds; ++round) {
      learnt = search(round == 0);
      if (work_.has_best()) work_.make_whole_graph_ahead(work_.best()->plan.num_microbatches);
    }
    if (owner_ != nullptr) owner_->polish();
  }

 private:
  /// True if something was learnt of packing on the way: other cuts may be better then.
  bool search(bool first) {
    double least = work_.best_time();
    for (Variant* variant : alike_) {
      if (work_.stopped() || is_idle(*variant)) continue;
      variant->scan(least * kFarAbove);
      least = std::min(least, variant->rated());
      tell_rated(least);
    }
    for (const auto& variant : mixed_) {
      if (work_.stopped()) break;
      if (outdone_.contains(variant.get())) continue;
      scan_mixed(*variant, least * kFarAbove);
      least = std::min(least, variant->rated());
      tell_rated(least);
    }
    if (mixed_.size() == 2 && mixed_.back()->rated() <= mixed_.front()->rated()) {
      outdone_.insert(mixed_.front().get());
    }
    for (Variant* variant : variants_) {
      if (!outdone_.contains(variant)) variant->choose(least * kFarAbove);
    }
    if (Variant* likely = nearest_variant(); first && tied_ && likely->modelled() < kInfinity) {
      work_.make_whole_graph_ahead(likely->modelled_microbatches());
      if (deep_ && lower(*likely)) return true;  // before drafts around it are looked at in vain
    }
    if (tied_ && !deep_) nearest_variant()->look_at_two_axes(least * kFarAbove);
    for (Variant* variant : variants_) {
      if (variant->modelled() <= nearest() * kNear) variant->climb();
    }
    bool learnt = false;
    for (int lowered = 0; lowered < kMostLowered && !work_.stopped(); ++lowered) {
      work_.tell("prices", static_cast<double>(lowered) / kMostLowered);
      const double limit = work_.best_time() * kClose - work_.norm();
      for (Variant* variant : variants_) variant->renew_best(limit);
      Variant* next = nearest_variant();
      if (next->modelled() >= limit) break;
      learnt = lower(*next) || learnt;
      next->drop_best();
    }
    return learnt;
  }

  void tell_rated(double least) {
    if (least < kInfinity) std::exchange(rated_, [](double) {})(least);
  }

  /// Lowers and packs the best draft of a variant. True if something was learnt of packing: then
  /// drafts are modelled again before they are lowered.
  bool lower(Variant& variant) {
    const double before = work_.best_time();
    variant.confirm();
    if (work_.best_time() < before) owner_ = &variant;
    if (!variant.learn_packing()) return false;
    for (Variant* other : variants_) other->forget();
    return true;
  }

  /// The first one of large models goes through all numbers of microbatches; others begin at those
  /// that are best without them, if anything is computed again there.
  void scan_mixed(Variant& mixed, double hopeless) {
    if (tied_ && &mixed == mixed_.front().get()) {
      mixed.scan(hopeless);
      return;
    }
    ScanStart start{.time = kInfinity};
    for (Variant* variant : variants_) {
      if (variant == &mixed) break;
      const bool near = variant->rated() < kInfinity && variant->rated() <= hopeless;
      if (!near || !variant->recomputes()) continue;
      start.microbatches.push_back(variant->microbatches());
      start.time = std::min(start.time, variant->rated());
      start.two_axes = variant->two_axes();
    }
    if (!start.microbatches.empty()) mixed.scan(hopeless, start);
  }

  [[nodiscard]] Variant* nearest_variant() const {
    return *std::min_element(variants_.begin(), variants_.end(),
                             [](Variant* a, Variant* b) { return a->modelled() < b->modelled(); });
  }

  [[nodiscard]] double nearest() const {
    double least = work_.best_time();
    for (Variant* variant : variants_) least = std::min(least, variant->modelled());
    return least;
  }

  /// Attention alone saves memory between nothing and everything: it is left out where the least
  /// recomputation looks best, which has no want of memory.
  [[nodiscard]] bool is_idle(const Variant& variant) const {
    const auto& recompute = variant.recompute();
    const bool middle =
        std::find(recompute.begin(), recompute.end(), Recompute::attention) != recompute.end();
    if (!middle || alike_.size() < 3) return false;
    const double none = alike_.front()->rated();
    return std::all_of(alike_.begin(), alike_.end(),
                       [&](const auto& other) { return none <= other->rated(); }) &&
           none < kInfinity;
  }

  SearchWork& work_;
  std::function<void(double seconds)> rated_;
  bool tied_;
  bool deep_;  ///< cut between blocks of layers
  std::vector<std::unique_ptr<Variant>> kinds_;
  /// Of all layers alike: cut; of large models the first, of very deep ones, whose cuts take longer
  /// than tables, none.
  std::vector<Variant*> alike_;
  /// Large models: of the first two kinds, then of all, as attention alone saves memory between
  /// nothing and everything; small ones: of all.
  std::vector<std::unique_ptr<Variant>> mixed_;
  std::vector<Variant*> variants_;  ///< whose drafts are modelled
  std::set<Variant*> outdone_;      ///< mixed, where more kinds look no worse by the tables
  Variant* owner_ = nullptr;        ///< of the best plan, if one was found here
};

}  // namespace

TierResult wide_search(SearchWork& work, const std::vector<std::vector<Recompute>>& kinds,
                       const std::function<void(double seconds)>& rated) {
  TierResult result;
  // What is computed again only adds to it.
  result.lower_bound = work_bound(work);
  WideSearch(work, kinds, rated).run();
  const bool poor = work.best_time() >= kPoor * result.lower_bound;
  if (work.request().seeds.empty() && poor && !ties(work, work.microbatch_counts().front())) {
    for (const auto& recompute : kinds) {
      work.recompute(recompute);
      offer_plans_by_hand(work);
    }
  }
  result.lower_bound = std::min(result.lower_bound + work.norm(), work.best_time());
  return result;
}

}  // namespace alpa
