#include "stage_points.hpp"

#include <algorithm>
#include <cmath>

#include "pipeline_bound.hpp"

namespace alpa {
namespace {

constexpr std::size_t kMostOfAStage = 20'000;
constexpr std::size_t kMostOfAll = 200'000;
constexpr double kMostRecomputations = 250.0;  ///< of all runs of layers, each layer by itself
constexpr double kMostBits = 30.0;  ///< of the choices of all operators, before any is ruled out

bool no_worse(const StageFigures& a, const StageFigures& b) {
  return a.times.prepare <= b.times.prepare && a.times.forward <= b.times.forward &&
         a.times.backward <= b.times.backward && a.times.reduce <= b.times.reduce &&
         a.times.update <= b.times.update && a.state <= b.state && a.stash <= b.stash &&
         a.transient <= b.transient;
}

/// Keeps what no other answer replaces. Where devices share cores a shorter piece of work may
/// delay another, so that only equal ones replace each other.
std::vector<StagePoint> undominated(const std::vector<StageAnswer>& answers, bool shared,
                                    double least_share) {
  std::vector<const StageAnswer*> order;
  for (const StageAnswer& answer : answers) order.push_back(&answer);
  const StageWeights even;
  std::stable_sort(order.begin(), order.end(), [&](const StageAnswer* a, const StageAnswer* b) {
    return weighted(a->figures, even) < weighted(b->figures, even);
  });
  std::vector<StagePoint> kept;
  std::map<std::string, std::vector<std::size_t>> by_borders;
  for (const StageAnswer* answer : order) {
    auto& rivals = by_borders[answer->borders];
    const auto rival = std::find_if(rivals.begin(), rivals.end(), [&](std::size_t r) {
      const StageFigures& other = kept[r].answer->figures;
      return no_worse(other, answer->figures) && (!shared || no_worse(answer->figures, other));
    });
    if (rival != rivals.end()) {
      kept[*rival].replaced.push_back(answer);
      continue;
    }
    rivals.push_back(kept.size());
    const StageTimes& t = answer->figures.times;
    kept.push_back({answer,
                    {t.prepare * least_share, t.forward * least_share, t.backward * least_share,
                     t.reduce * least_share, t.update * least_share},
                    {}});
  }
  return kept;
}

}  // namespace

Bytes memory_of(const StageFigures& figures, int in_flight) {
  return figures.state + figures.stash * in_flight + figures.transient;
}

StagePoints::StagePoints(SearchWork& work, std::vector<Recompute> kinds)
    : work_(work), kinds_(std::move(kinds)) {}

bool StagePoints::may_be_few() {
  if (!work_.line().is_whole()) return false;
  double recomputations = 0.0;
  for (int n = 1; n <= work_.layers(); ++n) {
    recomputations += (work_.layers() + 1 - n) * std::pow(kinds_.size(), n);
  }
  if (kinds_.size() > 1 && recomputations > kMostRecomputations) return false;
  // The largest mesh that begins at the first device has the most strategies.
  const auto sizes = submesh_sizes(work_.cluster(), 0);
  const Graph& graph = work_.graph(work_.microbatch_counts().back(), {});
  double most = 0.0;
  for (const int size : sizes) {
    for (const DeviceMesh& mesh : work_.meshes(size)) {
      double bits = 0.0;
      for (const Operator& op : graph.operators) {
        if (op.copy_of.valid()) continue;  // as the operator it repeats
        const auto& allowed = work_.stage_constraints().strategies;
        const auto some = allowed ? allowed(op, mesh) : std::nullopt;
        const std::size_t count = some ? some->size() : all_strategies(op.rule, mesh).size();
        if (count > 1) bits += std::log2(static_cast<double>(count));
        if (bits > kMostBits) return false;
      }
      most = std::max(most, bits);
    }
  }
  return true;
}

bool StagePoints::few_enough() {
  if (!may_be_few()) return false;
  for (const int microbatches : work_.microbatch_counts()) {
    for (int device = 0; device < work_.devices(); ++device) {
      for (const int size : submesh_sizes(work_.cluster(), device)) {
        for (const DeviceMesh& mesh : work_.meshes(size)) {
          for (int first = 0; first < work_.layers(); ++first) {
            for (int last = first; last < work_.layers(); ++last) {
              if (!add(microbatches, {first, last, device, mesh})) return false;
            }
          }
        }
      }
    }
  }
  return true;
}

bool StagePoints::add(int microbatches, const DraftStage& stage) {
  const std::string& mesh = work_.costs(stage.first_device, stage.mesh).key();
  const Key key{microbatches, stage.first_layer, stage.last_layer, mesh};
  if (sets_.contains(key)) return true;
  PointSet& set = sets_[key];
  const auto first = static_cast<std::size_t>(stage.first_layer);
  const auto last = static_cast<std::size_t>(stage.last_layer);
  // Counts in the number of kinds, a digit for each layer.
  std::vector<std::size_t> digits(last + 1 - first, 0);
  for (std::size_t changed = 0; changed < digits.size();) {
    std::vector<Recompute> of_layer(static_cast<std::size_t>(work_.layers()), Recompute::none);
    for (std::size_t l = first; l <= last; ++l) of_layer[l] = kinds_[digits[l - first]];
    if (!add(microbatches, stage, of_layer, set)) return false;
    for (changed = 0; changed < digits.size(); ++changed) {
      digits[changed] = (digits[changed] + 1) % kinds_.size();
      if (digits[changed] > 0) break;
    }
  }
  set.points =
      undominated(set.answers, shares_cores(work_.cluster()), least_share(work_.cluster(), stage));
  return true;
}

bool StagePoints::add(int microbatches, const DraftStage& stage,
                      const std::vector<Recompute>& of_layer, PointSet& set) {
  const StageModel& model = work_.model_of(microbatches, stage.first_device, stage.mesh, of_layer);
  const SearchWork::Clock clock(work_, "solving");
  auto all =
      model.all(stage.first_layer, stage.last_layer, std::min(kMostOfAStage, kMostOfAll - held_));
  if (!all) return false;
  held_ += all->size();
  std::string question = std::to_string(microbatches) + " " + std::to_string(stage.first_layer) +
                         "-" + std::to_string(stage.last_layer) + " " +
                         work_.costs(stage.first_device, stage.mesh).key();
  std::vector<ChosenLayers> parts;
  for (int l = stage.first_layer; l <= stage.last_layer; ++l) {
    const Recompute again = of_layer[static_cast<std::size_t>(l)];
    parts.push_back({l, l, nullptr, again});
    if (again != Recompute::none) question += " " + std::to_string(static_cast<int>(again));
  }
  work_.solved(question);
  for (StageAnswer& answer : *all) {
    answer.parts = parts;
    set.answers.push_back(std::move(answer));
  }
  return true;
}

const PointSet& StagePoints::of(int microbatches, const DraftStage& stage) {
  return sets_.at({microbatches, stage.first_layer, stage.last_layer,
                   work_.costs(stage.first_device, stage.mesh).key()});
}

}  // namespace alpa
