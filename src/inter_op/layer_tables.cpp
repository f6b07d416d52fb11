#include "layer_tables.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>

#include "class_path.hpp"
#include "side_by_side.hpp"
#include "stage_points.hpp"
#include "table_jobs.hpp"

namespace alpa {
namespace {

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
  std::vector<std::vector<PlacedMesh>> of_kind;
  std::vector<std::vector<TableJob>> jobs(kinds_.size());
  std::vector<std::vector<TableJob>*> all;
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    work_.recompute(kinds_[k].recompute);
    jobs[k] = kinds_[k].tables->jobs_for(microbatches, wanted);
    all.push_back(&jobs[k]);
    of_kind.push_back(wanted);
    if (!kinds_[k].recompute.empty()) continue;
    // To compute something again is of no use where nothing is short of room.
    const SearchWork::Clock clock(work_, "tables of layers");
    side_by_side(jobs[k].size(), [&](std::size_t j) { begin(jobs[k][j]); });
    std::erase_if(wanted, [&](const PlacedMesh& at) {
      const MeshCosts& costs = work_.costs(at.first_device, at.mesh);
      for (const TableJob& job : jobs[k]) {
        if (job.costs->key() == costs.key()) return is_roomy(job);
      }
      const MeshTables& known = kinds_[k].tables->of(microbatches, at.first_device, at.mesh);
      return known.size() == 1 &&
             memory_of(known.front().table.of(0, work_.layers() - 1), microbatches) <=
                 work_.capacity(at.first_device, at.mesh);
    });
  }
  {
    const SearchWork::Clock clock(work_, "tables of layers");
    finish_all(all);
  }
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    work_.recompute(kinds_[k].recompute);
    kinds_[k].tables->take(jobs[k]);
    for (const PlacedMesh& at : of_kind[k]) {
      const MeshTables& of = kinds_[k].tables->of(microbatches, at.first_device, at.mesh);
      MeshTables& joined = tables_.at({microbatches, work_.costs(at.first_device, at.mesh).key()});
      joined.insert(joined.end(), of.begin(), of.end());
    }
  }
  work_.recompute(kinds_.front().recompute);
  for (const PlacedMesh& at : of_kind.front()) {
    add_paths(microbatches, at,
              tables_.at({microbatches, work_.costs(at.first_device, at.mesh).key()}));
  }
  work_.recompute(before);
}

void LayerTables::add_paths(int microbatches, const PlacedMesh& at, MeshTables& tables) {
  if (tables.size() < 2) return;
  const Chain chain = chain_of(tables, microbatches, std::min(microbatches, kTypicalInFlight));
  const std::vector<int>& classes =
      work_.model(microbatches, at.first_device, at.mesh).layer_classes();
  const SearchWork::Clock clock(work_, "tables of layers");
  std::vector<LineAnswer> between;
  for (std::size_t t = 1; t < chain.size(); ++t) {
    if (chain[t - 1]->recompute == chain[t]->recompute) continue;
    for (LineAnswer& answer : class_path(*chain[t - 1], *chain[t], classes, microbatches,
                                         std::min(microbatches, kTypicalInFlight))) {
      between.push_back(std::move(answer));
    }
  }
  tables.insert(tables.end(), std::make_move_iterator(between.begin()),
                std::make_move_iterator(between.end()));
}

void LayerTables::prepare(int microbatches, const std::vector<PlacedMesh>& meshes) {
  if (!kinds_.empty()) {
    prepare_kinds(microbatches, meshes);
    return;
  }
  std::vector<TableJob> jobs = jobs_for(microbatches, meshes);
  const SearchWork::Clock clock(work_, "tables of layers");
  finish_all({&jobs});
  take(jobs);
}

std::vector<TableJob> LayerTables::jobs_for(int microbatches,
                                            const std::vector<PlacedMesh>& meshes) {
  std::vector<TableJob> jobs;
  const bool tied = ties(work_, microbatches);
  std::set<std::string> keys;
  for (const PlacedMesh& at : meshes) {
    const MeshCosts& costs = work_.costs(at.first_device, at.mesh);
    if (tables_.contains({microbatches, costs.key()}) || !keys.insert(costs.key()).second) continue;
    TableJob job;
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
  return jobs;
}

void LayerTables::take(std::vector<TableJob>& jobs) {
  for (TableJob& job : jobs) {
    for (const double price : job.prices) {
      work_.solved(std::to_string(job.microbatches) + " line " + job.costs->key() + " " +
                   std::to_string(std::log2(price)));
    }
    if (job.made) {
      work_.add_model(job.microbatches, job.at.first_device, job.at.mesh, std::move(job.made));
    }
    MeshTables& tables = tables_[{job.microbatches, job.costs->key()}];
    for (HullPoint& point : job.hull) {
      std::vector<Recompute> again(static_cast<std::size_t>(job.layers),
                                   point.answer.parts.front().recompute);
      tables.push_back(
          {LayerTable(point.answer.by_layer), std::move(point.answer.parts), std::move(again)});
    }
  }
}

const MeshTables& LayerTables::of(int microbatches, int first_device, const DeviceMesh& mesh) {
  return tables_.at({microbatches, work_.costs(first_device, mesh).key()});
}

}  // namespace alpa
