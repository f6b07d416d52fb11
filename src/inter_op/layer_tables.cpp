#include "layer_tables.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "side_by_side.hpp"
#include "stage_points.hpp"

namespace alpa {
namespace {

constexpr std::size_t kMostTables = 6;  ///< of a mesh
constexpr int kTypicalInFlight = 4;     ///< stashes that tables weigh against state
constexpr double kSame = 1e-6;          ///< relative gain that is none

StageTimes plus(StageTimes a, const StageTimes& b) {
  a.prepare += b.prepare;
  a.forward += b.forward;
  a.backward += b.backward;
  a.reduce += b.reduce;
  a.update += b.update;
  return a;
}

StageTimes minus(StageTimes a, const StageTimes& b) {
  a.prepare -= b.prepare;
  a.forward -= b.forward;
  a.backward -= b.backward;
  a.reduce -= b.reduce;
  a.update -= b.update;
  return a;
}

/// A choice on the hull: what it costs, and bytes at the typical depth.
struct HullPoint {
  StageAnswer answer;
  double cost = 0.0;
  double bytes = 0.0;
};

/// Tables of one mesh, made by one thread.
struct Job {
  PlacedMesh at;
  const MeshCosts* costs = nullptr;
  const Graph* graph = nullptr;
  const StageConstraints* constraints = nullptr;
  std::shared_ptr<const intra_op::GraphIndex> index;
  StageRecorder record;
  std::stop_token stop;
  int microbatches = 1;
  int layers = 1;
  bool tied = false;
  Bytes room;
  const StageModel* model = nullptr;
  std::unique_ptr<StageModel> made;  ///< if there was none
  std::optional<PricedQuestion> question;
  MeshTables tables;
  std::vector<double> prices;  ///< of a byte, at which it was solved
};

/// For all layers.
StageQuestion question_of(const Job& job) {
  StageQuestion question;
  question.last_layer = job.layers - 1;
  question.weights.forward = question.weights.backward = job.microbatches;
  question.tied = job.tied;
  question.one_layout = true;
  question.named = false;
  question.limits.cbc_columns = 0;
  question.or_several = job.at.mesh.extents.size() == 1 || !question.tied;  // else too much work
  question.limits.sweeps = question.tied ? kTiedSweeps : 100;
  if (question.tied) question.limits.moves = kTiedMoves;
  question.limits.table_entries = kTableEntries;
  question.limits.stop = job.stop;
  return question;
}

/// The choice for all layers at which a byte has a price.
std::optional<HullPoint> solve(Job& job, double price) {
  const int stashes = std::min(job.microbatches, kTypicalInFlight);
  job.prices.push_back(price);
  auto answer = job.question->solve(price, price * stashes);
  if (!answer) return std::nullopt;
  StageWeights times;
  times.forward = times.backward = job.microbatches;
  const StageFigures& f = answer->figures;
  const auto bytes = static_cast<double>(f.state.value + f.stash.value * stashes);
  const double cost = weighted(f, times);
  return HullPoint{std::move(*answer), cost, bytes};
}

/// Whether any layer finds room with one stash.
bool fits_somewhere(const Job& job, const HullPoint& point) {
  return std::any_of(point.answer.by_layer.begin(), point.answer.by_layer.end(),
                     [&](const StageFigures& layer) { return memory_of(layer, 1) <= job.room; });
}

/// Between two neighbours on the hull, at the price at which they cost the same, until nothing new
/// comes up (columns of a linear programme with one memory row). Not among those that are of no use
/// to any layer.
void refine(Job& job, std::vector<HullPoint>& hull) {
  for (std::size_t i = 0; i + 1 < hull.size() && hull.size() < kMostTables;) {
    if (!fits_somewhere(job, hull[i + 1])) {
      ++i;
      continue;
    }
    const double saved = hull[i].bytes - hull[i + 1].bytes;
    const double price = (hull[i + 1].cost - hull[i].cost) / saved;
    const double level = hull[i].cost + price * hull[i].bytes;
    auto between = price > 0.0 ? solve(job, price) : std::nullopt;
    if (between && between->cost + price * between->bytes < level * (1.0 - kSame) &&
        between->bytes < hull[i].bytes && between->bytes > hull[i + 1].bytes) {
      hull.insert(hull.begin() + static_cast<std::ptrdiff_t>(i) + 1, std::move(*between));
    } else {
      ++i;
    }
  }
}

void run(Job& job) {
  if (job.stop.stop_requested()) return;
  if (job.model == nullptr) {
    job.made = std::make_unique<StageModel>(*job.graph, *job.costs, job.microbatches,
                                            *job.constraints, job.index, job.record);
    job.model = job.made.get();
  }
  job.question.emplace(*job.model, question_of(job));
  std::vector<HullPoint> hull;
  if (auto cheapest = solve(job, 0.0)) hull.push_back(std::move(*cheapest));
  if (hull.empty()) {
    job.question.reset();
    return;
  }
  const Bytes all = memory_of(hull.front().answer.figures, job.microbatches);
  if (all > job.room && std::isfinite(hull.front().cost)) {
    // So dear that a byte outweighs any time.
    auto smallest = solve(job, 1e3 * hull.front().cost / std::max(1.0, hull.front().bytes));
    if (smallest && smallest->bytes < hull.front().bytes) {
      hull.push_back(std::move(*smallest));
      refine(job, hull);
    }
  }
  job.question.reset();
  for (HullPoint& point : hull) {
    const Recompute again = point.answer.parts.front().recompute;
    job.tables.push_back({LayerTable(point.answer.by_layer), std::move(point.answer.parts), again});
  }
}

}  // namespace

LayerTable::LayerTable(const std::vector<StageFigures>& by_layer) {
  auto line = std::make_shared<Line>();
  std::vector<const StageFigures*> kinds;
  for (const StageFigures& layer : by_layer) {
    const auto like = std::find_if(kinds.begin(), kinds.end(),
                                   [&](const StageFigures* kind) { return *kind == layer; });
    line->kind.push_back(static_cast<int>(like - kinds.begin()));
    if (like == kinds.end()) kinds.push_back(&layer);
  }
  auto& each = line->transient.emplace_back();
  for (const StageFigures& layer : by_layer) {
    Sums next = line->sums.back();
    next.times = plus(next.times, layer.times);
    next.state += layer.state.value;
    next.stash += layer.stash.value;
    next.reduced += layer.reduced.value;
    line->sums.push_back(next);
    if (each.empty() || each.back() != layer.transient.value) {
      each.push_back(layer.transient.value);
    }
    line->run.push_back(static_cast<int>(each.size()) - 1);
  }
  for (std::size_t width = 1; 2 * width <= line->transient.front().size(); width *= 2) {
    const std::vector<std::int64_t> half = line->transient.back();
    auto& row = line->transient.emplace_back();
    for (std::size_t first = 0; first + width < half.size(); ++first) {
      row.push_back(std::max(half[first], half[first + width]));
    }
  }
  line_ = std::move(line);
}

StageFigures LayerTable::of(int first, int last) const {
  const Sums& before = line_->sums[static_cast<std::size_t>(first)];
  const Sums& after = line_->sums[static_cast<std::size_t>(last) + 1];
  const auto begin = static_cast<std::size_t>(line_->run[static_cast<std::size_t>(first)]);
  const auto end = static_cast<std::size_t>(line_->run[static_cast<std::size_t>(last)]) + 1;
  const auto k = static_cast<std::size_t>(std::bit_width(end - begin)) - 1;
  const std::vector<std::int64_t>& transient = line_->transient[k];
  const std::int64_t reduced = after.reduced - before.reduced;
  return {minus(after.times, before.times),
          {after.state - before.state},
          {after.stash - before.stash},
          {std::max({transient[begin], transient[end - (std::size_t{1} << k)], reduced})},
          {reduced}};
}

Chain chain_of(const MeshTables& tables, int microbatches, int stashes) {
  struct Point {
    double cost, bytes;
    const LineAnswer* answer;
  };
  StageWeights times;
  times.forward = times.backward = microbatches;
  std::vector<Point> points;
  bool alike = true;
  for (const LineAnswer& answer : tables) {
    const StageFigures all = answer.table.of(0, answer.table.layers() - 1);
    const Bytes bytes = all.state + all.stash * stashes;
    points.push_back({weighted(all, times), static_cast<double>(bytes.value), &answer});
    alike = alike && answer.recompute == tables.front().recompute;
  }
  if (!alike) {
    std::stable_sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
      return a.cost != b.cost ? a.cost < b.cost : a.bytes < b.bytes;
    });
    std::vector<Point> hull;
    for (const Point& next : points) {
      if (!hull.empty() && next.bytes >= hull.back().bytes) continue;
      // The one before is no use above the line from the one before that to this.
      while (hull.size() > 1) {
        const Point& a = hull[hull.size() - 2];
        const Point& b = hull.back();
        if ((b.cost - a.cost) * (a.bytes - next.bytes) <
            (next.cost - a.cost) * (a.bytes - b.bytes)) {
          break;
        }
        hull.pop_back();
      }
      hull.push_back(next);
    }
    points = std::move(hull);
  }
  Chain chain;
  for (const Point& point : points) chain.push_back(point.answer);
  return chain;
}

std::optional<Mixture> mixture_within(const Chain& chain, int first, int last, int stashes,
                                      Bytes room) {
  for (std::size_t t = 0; t < chain.size(); ++t) {
    Mixture best{t, 0, chain[t]->table.of(first, last)};
    if (memory_of(best.figures, stashes) > room) continue;
    if (t == 0) return best;
    int high = last - first + 1;
    while (high - best.large_layers > 1) {
      const int count = (best.large_layers + high) / 2;
      const StageFigures small = chain[t]->table.of(first, last - count);
      const StageFigures large = chain[t - 1]->table.of(last - count + 1, last);
      const Bytes reduced = small.reduced + large.reduced;
      const StageFigures both{plus(small.times, large.times), small.state + large.state,
                              small.stash + large.stash,
                              std::max({small.transient, large.transient, reduced}), reduced};
      if (memory_of(both, stashes) <= room) {
        best = {t, count, both};
      } else {
        high = count;
      }
    }
    return best;
  }
  return std::nullopt;
}

Chain best_pair(const MeshTables& tables, int microbatches, int first, int last, int stashes,
                Bytes room) {
  StageWeights times;
  times.forward = times.backward = microbatches;
  Chain best;
  double least = std::numeric_limits<double>::infinity();
  std::vector<std::pair<double, const LineAnswer*>> large;
  std::vector<const LineAnswer*> small;
  for (const LineAnswer& answer : tables) {
    const StageFigures all = answer.table.of(first, last);
    const double time = weighted(all, times);
    if (memory_of(all, stashes) > room) {
      large.emplace_back(time, &answer);
      continue;
    }
    small.push_back(&answer);
    if (time >= least) continue;
    least = time;
    best = {&answer};
  }
  for (const auto& [time, answer] : large) {
    for (const LineAnswer* rest : small) {
      if (time >= least) break;
      const auto mixed = mixture_within({answer, rest}, first, last, stashes, room);
      if (!mixed || weighted(mixed->figures, times) >= least) continue;
      least = weighted(mixed->figures, times);
      best = {answer, rest};
    }
  }
  return best;
}

bool ties(SearchWork& work, int microbatches) {
  return work.operators(microbatches) > kTiedOperators;
}

void LayerTables::prepare_kinds(int microbatches, const std::vector<PlacedMesh>& meshes) {
  const std::vector<Recompute> before = work_.recompute();
  std::vector<PlacedMesh> wanted;
  for (const PlacedMesh& at : meshes) {
    const auto [it, is_new] =
        tables_.try_emplace({microbatches, work_.costs(at.first_device, at.mesh).key()});
    if (is_new) wanted.push_back(at);
  }
  for (const Kind& kind : kinds_) {
    work_.recompute(kind.recompute);
    kind.tables->prepare(microbatches, wanted);
    std::erase_if(wanted, [&](const PlacedMesh& at) {
      const MeshTables& of = kind.tables->of(microbatches, at.first_device, at.mesh);
      MeshTables& all = tables_.at({microbatches, work_.costs(at.first_device, at.mesh).key()});
      all.insert(all.end(), of.begin(), of.end());
      // To compute something again is of no use where nothing is short of room.
      return kind.recompute.empty() && of.size() == 1 &&
             memory_of(of.front().table.of(0, work_.layers() - 1), microbatches) <=
                 work_.capacity(at.first_device, at.mesh);
    });
  }
  work_.recompute(before);
}

void LayerTables::prepare(int microbatches, const std::vector<PlacedMesh>& meshes) {
  if (!kinds_.empty()) {
    prepare_kinds(microbatches, meshes);
    return;
  }
  std::vector<Job> jobs;
  const bool tied = ties(work_, microbatches);
  std::set<std::string> keys;
  for (const PlacedMesh& at : meshes) {
    const MeshCosts& costs = work_.costs(at.first_device, at.mesh);
    if (tables_.contains({microbatches, costs.key()}) || !keys.insert(costs.key()).second) continue;
    Job job;
    job.at = at;
    job.costs = &costs;
    job.graph = &work_.graph(microbatches);
    job.constraints = &work_.stage_constraints();
    job.index = work_.index(microbatches);
    job.record = work_.request().record;
    job.stop = work_.request().stop;
    job.microbatches = microbatches;
    job.layers = work_.layers();
    job.tied = tied;
    job.room = work_.capacity(at.first_device, at.mesh);
    if (work_.has_model(microbatches, at.first_device, at.mesh)) {
      job.model = &work_.model(microbatches, at.first_device, at.mesh);
    }
    jobs.push_back(std::move(job));
  }
  const SearchWork::Clock clock(work_, "tables of layers");
  side_by_side(jobs.size(), [&](std::size_t j) { run(jobs[j]); });
  for (Job& job : jobs) {
    for (const double price : job.prices) {
      work_.solved(std::to_string(microbatches) + " line " + job.costs->key() + " " +
                   std::to_string(std::log2(price)));
    }
    if (job.made) {
      work_.add_model(microbatches, job.at.first_device, job.at.mesh, std::move(job.made));
    }
    tables_[{microbatches, job.costs->key()}] = std::move(job.tables);
  }
}

const MeshTables& LayerTables::of(int microbatches, int first_device, const DeviceMesh& mesh) {
  return tables_.at({microbatches, work_.costs(first_device, mesh).key()});
}

}  // namespace alpa
