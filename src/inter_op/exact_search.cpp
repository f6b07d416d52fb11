#include "exact_search.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "pipeline_bound.hpp"
#include "stage_points.hpp"
#include "warm_up.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kMostNodes = 5'000'000;
constexpr std::size_t kMostDepths = 420;  ///< of a pipeline: those of six stages
/// Sums in another order may differ by so much.
constexpr double kRounding = 1e-12;

/// Depth first over the stages of all structures with one number of microbatches, one schedule and
/// one number of stages.
class DepthFirst {
 public:
  DepthFirst(SearchWork& work, StagePoints& points, std::int64_t& nodes)
      : work_(work), points_(points), nodes_(nodes) {}

  /// Bound of all structures of this outline.
  double begin(int microbatches, PipelineKind schedule, int stages) {
    draft_ = {};
    draft_.microbatches = microbatches;
    draft_.schedule = schedule;
    if (schedule == PipelineKind::one_f_one_b) draft_.warm_up = work_.warm_up(stages);
    stages_ = stages;
    depths_ = {draft_.warm_up};
    has_all_depths_ = true;
    if (schedule == PipelineKind::one_f_one_b && work_.deepens()) {
      auto all = all_warm_ups(stages, microbatches, kMostDepths);
      has_all_depths_ = all.has_value();
      if (all)
        depths_ = std::move(*all);
      else
        depths_.push_back(useful_warm_up(stages, microbatches));
    }
    rest_.clear();
    return rest(stages, 0, 0);
  }

  /// Whether a choice did not fit.
  [[nodiscard]] bool lacked_memory() const { return lacked_memory_; }

  /// Whether depths of some pipeline were not gone through that might have been better.
  [[nodiscard]] bool left_out() const { return left_out_; }

  /// False if the work was not done.
  bool run() {
    chosen_.clear();
    return extend(PipelineBound(draft_.microbatches), 0, 0);
  }

 private:
  struct Child {
    DraftStage stage;
    const StagePoint* point = nullptr;
    PipelineBound bound;
    double value = 0.0;
  };

  [[nodiscard]] bool hopeless(double bound) const {
    return bound + work_.norm() >= work_.best_time() * (1.0 - kRounding);
  }

  template <class Visit>
  void stages_from(int left, int layer, int device, Visit visit) {
    const int farthest = work_.layers() - left;
    for (int last = left == 1 ? farthest : layer; last <= farthest; ++last) {
      for (const int size : submesh_sizes(work_.cluster(), device)) {
        for (const DeviceMesh& mesh : work_.meshes(size)) {
          visit(DraftStage{layer, last, device, mesh});
        }
      }
    }
  }

  /// Choices of the stage that has `left - 1` after it, as far as their figures fit.
  template <class Visit>
  void points_from(int left, int layer, int device, Visit visit) {
    if (device >= work_.devices()) return;
    const auto s = static_cast<std::size_t>(stages_ - left);
    const int stashes = in_flight(draft_, s);
    stages_from(left, layer, device, [&](const DraftStage& stage) {
      const Bytes room = work_.capacity(stage.first_device, stage.mesh);
      for (const StagePoint& point : points_.of(draft_.microbatches, stage).points) {
        if (memory_of(point.answer->figures, stashes) <= room) {
          visit(stage, point);
        } else {
          lacked_memory_ = true;
        }
      }
    });
  }

  /// Least bound of `left` stages that hold the layers from one on, from a device on.
  double rest(int left, int layer, int device) {
    if (left == 0) return 0.0;
    const auto key = std::tuple(left, layer, device);
    if (const auto known = rest_.find(key); known != rest_.end()) return known->second;
    double least = kInfinity;
    points_from(left, layer, device, [&](const DraftStage& stage, const StagePoint& point) {
      const StageTimes& t = point.least;
      const double both = (t.forward + t.backward).value;
      const double alone = draft_.microbatches * both + (t.prepare + t.reduce + t.update).value;
      if (alone >= least) return;
      const int next = device + num_devices(stage.mesh);
      const double after = left > 1 ? rest(left - 1, stage.last_layer + 1, next) : 0.0;
      least = std::min(least, std::max(alone, both + after));
    });
    rest_[key] = least;
    return least;
  }

  bool extend(const PipelineBound& bound, int layer, int device) {
    const int left = stages_ - static_cast<int>(chosen_.size());
    if (left == 0) {
      leaf(bound.value(0.0));
      return true;
    }
    std::vector<Child> children;
    points_from(left, layer, device, [&](const DraftStage& stage, const StagePoint& point) {
      Child child{stage, &point, bound.with(point.least), 0.0};
      const int next = device + num_devices(stage.mesh);
      child.value = child.bound.value(rest(left - 1, stage.last_layer + 1, next));
      if (!hopeless(child.value)) children.push_back(std::move(child));
    });
    std::stable_sort(children.begin(), children.end(),
                     [](const Child& a, const Child& b) { return a.value < b.value; });
    for (const Child& child : children) {
      if (hopeless(child.value)) break;
      if (++nodes_ > kMostNodes || work_.stopped()) return false;
      draft_.stages.push_back(child.stage);
      chosen_.push_back(child.point);
      const bool done = extend(child.bound, child.stage.last_layer + 1,
                               child.stage.first_device + num_devices(child.stage.mesh));
      draft_.stages.pop_back();
      chosen_.pop_back();
      if (!done) return false;
    }
    return true;
  }

  /// All depths, until one takes no more than stages that never wait for messages.
  void leaf(double bound) {
    std::vector<const StageAnswer*> answers;
    for (const StagePoint* point : chosen_) answers.push_back(point->answer);
    for (const std::vector<int>& depth : depths_) {
      draft_.warm_up = depth;
      if (hopeless(bound)) break;
      if (!figures_fit(answers)) continue;
      const auto worse = price_leaf(answers);
      if (!worse.empty()) replace(answers, worse, 0);
    }
    draft_.warm_up = depths_.front();
    if (!has_all_depths_ && !hopeless(bound)) left_out_ = true;
  }

  [[nodiscard]] bool figures_fit(const std::vector<const StageAnswer*>& answers) {
    for (std::size_t s = 0; s < answers.size(); ++s) {
      const DraftStage& stage = draft_.stages[s];
      const Bytes bytes = memory_of(answers[s]->figures, in_flight(draft_, s));
      if (bytes <= work_.capacity(stage.first_device, stage.mesh)) continue;
      lacked_memory_ = true;
      return false;
    }
    return true;
  }

  /// What a stage that is worse than its figures had replaced may be packed tighter or take less.
  void replace(std::vector<const StageAnswer*>& answers, const std::vector<std::size_t>& worse,
               std::size_t which) {
    if (which == worse.size()) {
      (void)price_leaf(answers);
      return;
    }
    const std::size_t s = worse[which];
    replace(answers, worse, which + 1);
    const StageAnswer* before = answers[s];
    for (const StageAnswer* other : chosen_[s]->replaced) {
      answers[s] = other;
      replace(answers, worse, which + 1);
    }
    answers[s] = before;
  }

  [[nodiscard]] static bool exceeds(const StageTimes& found, const StageTimes& modelled) {
    const auto above = [](Seconds a, Seconds b) { return a.value > b.value * (1.0 + kRounding); };
    return above(found.prepare, modelled.prepare) || above(found.forward, modelled.forward) ||
           above(found.backward, modelled.backward) || above(found.reduce, modelled.reduce) ||
           above(found.update, modelled.update);
  }

  /// Stages that do not fit or take longer than their figures say; none also where the price cannot
  /// be the best.
  std::vector<std::size_t> price_leaf(const std::vector<const StageAnswer*>& answers) {
    std::vector<StageTimes> times;
    Draft any_depth = draft_;
    any_depth.warm_up.clear();
    std::string key = key_of(any_depth);
    for (const StageAnswer* answer : answers) {
      times.push_back(answer->figures.times);
      key += "\n" + answer->borders;
    }
    const auto known = transfers_.find(key);
    static const std::vector<StageTransfer> kNone;
    const auto& transfers = known == transfers_.end() ? kNone : known->second;
    if (hopeless(modelled_price(work_.cluster(), draft_, times, transfers))) return {};
    const Graph& graph = work_.graph(draft_.microbatches, recompute_of(answers, work_.layers()));
    const auto offered = work_.offer(assemble(draft_, answers, graph, work_.cluster()));
    transfers_[key] = offered.price.transfers;
    work_.solved(key);
    std::vector<std::size_t> worse;
    for (std::size_t s = 0; s < offered.over.size(); ++s) {
      lacked_memory_ = lacked_memory_ || offered.over[s] > Bytes{0};
      if (offered.over[s] > Bytes{0} || exceeds(offered.price.stages[s], times[s])) {
        worse.push_back(s);
      }
    }
    return worse;
  }

  SearchWork& work_;
  StagePoints& points_;
  std::int64_t& nodes_;
  Draft draft_;
  int stages_ = 1;
  std::vector<std::vector<int>> depths_;  ///< of 1F1B that are tried, the least first
  bool has_all_depths_ = true;
  bool left_out_ = false;
  bool lacked_memory_ = false;
  std::vector<const StagePoint*> chosen_;
  std::map<std::tuple<int, int, int>, double> rest_;
  std::map<std::string, std::vector<StageTransfer>> transfers_;
};

struct Outline {
  double bound = 0.0;
  int microbatches = 1;
  PipelineKind schedule = PipelineKind::gpipe;
  int stages = 1;
};

struct CountedOut {
  TierResult result;
  bool lacked_memory = false;
};

/// With layers that choose of these kinds; nothing if there are too many choices.
std::optional<CountedOut> count_out(SearchWork& work, const std::vector<Recompute>& kinds) {
  StagePoints points(work, kinds);
  if (!points.few_enough()) return std::nullopt;
  const SearchWork::Clock clock(work, "dynamic programme");
  std::int64_t nodes = 0;
  DepthFirst search(work, points, nodes);
  std::vector<Outline> shapes;
  for (const int microbatches : work.microbatch_counts()) {
    for (int stages = work.stage_counts().first; stages <= work.stage_counts().second; ++stages) {
      for (const PipelineKind schedule : work.schedules(stages, microbatches)) {
        const double bound = search.begin(microbatches, schedule, stages);
        shapes.push_back({bound, microbatches, schedule, stages});
      }
    }
  }
  std::stable_sort(shapes.begin(), shapes.end(),
                   [](const Outline& a, const Outline& b) { return a.bound < b.bound; });
  TierResult result;
  result.complete = true;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const Outline& outline = shapes[i];
    if (outline.bound + work.norm() >= work.best_time()) break;
    work.tell("plans", static_cast<double>(i) / static_cast<double>(shapes.size()));
    (void)search.begin(outline.microbatches, outline.schedule, outline.stages);
    if (!search.run()) {
      result.complete = false;
      break;
    }
  }
  result.complete = result.complete && !search.left_out();
  result.lower_bound = work.best_time();
  if (!result.complete && !shapes.empty()) {
    result.lower_bound = std::min(result.lower_bound, shapes.front().bound + work.norm());
  }
  return CountedOut{result, search.lacked_memory()};
}

}  // namespace

std::optional<TierResult> exact_search(SearchWork& work, const std::vector<Recompute>& kinds) {
  const auto first = count_out(work, {kinds.front()});
  if (!first) return std::nullopt;
  // Computing again saves nothing but memory.
  if (kinds.size() == 1 || (!first->lacked_memory && first->result.complete)) return first->result;
  const auto all = count_out(work, kinds);
  return all ? all->result : TierResult{false, 0.0};
}

}  // namespace alpa
