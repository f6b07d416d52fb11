#include "table_jobs.hpp"

#include <algorithm>
#include <cmath>

#include "side_by_side.hpp"
#include "stage_points.hpp"

namespace alpa {
namespace {

constexpr std::size_t kMostTables = 6;  ///< of a mesh
constexpr double kSame = 1e-6;          ///< relative gain that is none

/// For all layers.
StageQuestion question_of(const TableJob& job) {
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
std::optional<HullPoint> solve(TableJob& job, double price) {
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
bool fits_somewhere(const TableJob& job, const HullPoint& point) {
  return std::any_of(point.answer.by_layer.begin(), point.answer.by_layer.end(),
                     [&](const StageFigures& layer) { return memory_of(layer, 1) <= job.room; });
}

/// Between two neighbours on the hull, at the price at which they cost the same, until nothing new
/// comes up (columns of a linear programme with one memory row). Not among those that are of no use
/// to any layer.
void refine(TableJob& job, std::vector<HullPoint>& hull) {
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

}  // namespace

void begin(TableJob& job) {
  if (job.stop.stop_requested()) return;
  if (job.model == nullptr) {
    job.made = std::make_unique<StageModel>(*job.graph, *job.costs, job.microbatches,
                                            *job.constraints, job.index, job.record);
    job.model = job.made.get();
  }
  job.question.emplace(*job.model, question_of(job));
  if (auto cheapest = solve(job, 0.0)) job.hull.push_back(std::move(*cheapest));
}

bool is_roomy(const TableJob& job) {
  return !job.hull.empty() &&
         memory_of(job.hull.front().answer.figures, job.microbatches) <= job.room;
}

namespace {

void finish(TableJob& job) {
  if (job.prices.empty()) begin(job);
  std::vector<HullPoint>& hull = job.hull;
  if (!hull.empty() && !is_roomy(job) && std::isfinite(hull.front().cost)) {
    // So dear that a byte outweighs any time.
    auto smallest = solve(job, 1e3 * hull.front().cost / std::max(1.0, hull.front().bytes));
    if (smallest && smallest->bytes < hull.front().bytes) {
      hull.push_back(std::move(*smallest));
      refine(job, hull);
    }
  }
  job.question.reset();
}

}  // namespace

void finish_all(const std::vector<std::vector<TableJob>*>& all) {
  std::vector<TableJob*> order;
  for (std::vector<TableJob>* jobs : all) {
    for (TableJob& job : *jobs) order.push_back(&job);
  }
  // Those that take longest first.
  std::stable_sort(order.begin(), order.end(), [](const TableJob* a, const TableJob* b) {
    return a->at.mesh.extents.size() > b->at.mesh.extents.size();
  });
  side_by_side(order.size(), [&](std::size_t j) { finish(*order[j]); });
}

}  // namespace alpa
