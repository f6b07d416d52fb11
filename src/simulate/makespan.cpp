#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/schedule/schedule.hpp"

#include "table_run.hpp"

namespace alpa {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// The work that a stage is at.
struct Running {
  double end = kNever;  ///< at the present speed; kNever: the stage waits
  double speed = 1.0;
  double begin = 0.0;
};

/// Any table on cores that stages may share: from one end or arrival to the next.
class Table {
 public:
  Table(const Schedule& schedule, const std::vector<ChunkTimes>& chunks,
        const std::vector<StageTransfer>& transfers, const std::vector<SharedCores>& shared)
      : schedule_(schedule),
        chunks_(chunks),
        shared_(shared),
        next_(schedule.order.size(), 0),
        running_(schedule.order.size()),
        working_(schedule.order.size(), false),
        sends_(2 * chunks.size()),
        inputs_(2 * chunks.size()),
        done_(2 * chunks.size(), -1) {
    ALPA_CHECK(chunks.size() == schedule.stage_of_chunk.size());
    run_.busy.assign(schedule.order.size(), 0.0);
    for (const StageTransfer& t : transfers) add_transfer(t);
  }

  TableRun run() {
    start_what_is_ready();
    while (true) {
      const auto first =
          std::min_element(running_.begin(), running_.end(),
                           [](const Running& a, const Running& b) { return a.end < b.end; });
      const double arrival = arrivals_.empty() ? kNever : arrivals_.begin()->first;
      now_ = std::min(first->end, arrival);
      if (now_ == kNever) break;
      run_.makespan = std::max(run_.makespan, first->end == now_ ? now_ : 0.0);
      for (std::size_t s = 0; s < running_.size(); ++s) {
        if (running_[s].end == now_) finish(s);
      }
      while (!arrivals_.empty() && arrivals_.begin()->first == now_) {
        ++lines_[arrivals_.begin()->second].arrived;
        arrivals_.erase(arrivals_.begin());
      }
      start_what_is_ready();
    }
    for (std::size_t s = 0; s < next_.size(); ++s) {
      ALPA_CHECK(next_[s] == schedule_.order[s].size());  // else the table deadlocks
    }
    return std::move(run_);
  }

 private:
  /// One kind of transfer; its microbatches go in the order in which they are made, which is the
  /// order of their numbers in every table.
  struct Line {
    StageTransfer what;
    std::size_t pair = 0;  ///< into free_
    int arrived = 0;       ///< microbatches
  };

  static std::size_t key(int chunk, bool backward) { return 2 * at(chunk) + (backward ? 1 : 0); }

  void add_transfer(const StageTransfer& t) {
    const std::pair stages{schedule_.stage_of_chunk[at(t.from)],
                           schedule_.stage_of_chunk[at(t.to)]};
    const auto [it, is_new] = pairs_.try_emplace(stages, free_.size());
    if (is_new) free_.push_back(0.0);
    const bool to_backward = t.backward || t.from > t.to;
    sends_[key(t.from, t.backward)].push_back(lines_.size());
    inputs_[key(t.to, to_backward)].push_back(lines_.size());
    lines_.push_back({t, it->second});
  }

  [[nodiscard]] const Work& work(std::size_t s) const { return schedule_.order[s][next_[s]]; }

  [[nodiscard]] bool ready(std::size_t s) const {
    const Work& w = work(s);
    if (w.weights) return true;  // its first half ran here
    const int neighbour = w.backward ? w.chunk + 1 : w.chunk - 1;
    const bool first = neighbour < 0 || at(neighbour) == chunks_.size();
    if (!first && done_[key(neighbour, w.backward)] < w.microbatch) return false;
    const auto& inputs = inputs_[key(w.chunk, w.backward)];
    return std::all_of(inputs.begin(), inputs.end(),
                       [&](std::size_t line) { return lines_[line].arrived > w.microbatch; });
  }

  [[nodiscard]] double seconds(std::size_t s) const {
    const Work& w = work(s);
    const ChunkTimes& times = chunks_[at(w.chunk)];
    return (w.weights ? times.weights : w.backward ? times.backward : times.forward).value;
  }

  void start_what_is_ready() {
    for (std::size_t s = 0; s < next_.size(); ++s) {
      if (working_[s] || next_[s] == schedule_.order[s].size() || !ready(s)) continue;
      working_[s] = true;
      running_[s] = {now_ + seconds(s), 1.0, now_};
    }
    if (!shared_.empty()) set_speeds();
  }

  void finish(std::size_t s) {
    const Work w = work(s);
    running_[s].end = kNever;
    working_[s] = false;
    run_.busy[s] += now_ - running_[s].begin;
    ++next_[s];
    if (w.weights) return;
    done_[key(w.chunk, w.backward)] = w.microbatch;
    for (const std::size_t line : sends_[key(w.chunk, w.backward)]) {
      double& free = free_[lines_[line].pair];
      free = std::max(free, now_) + lines_[line].what.time.value;
      arrivals_.emplace(free, line);
    }
  }

  /// What is at work goes on at the speed that the present company allows.
  void set_speeds() {
    const std::vector<double> fast = speeds(working_, shared_);
    for (std::size_t s = 0; s < running_.size(); ++s) {
      if (!working_[s] || running_[s].speed == fast[s]) continue;
      running_[s].end = now_ + (running_[s].end - now_) * running_[s].speed / fast[s];
      running_[s].speed = fast[s];
    }
  }

  const Schedule& schedule_;
  const std::vector<ChunkTimes>& chunks_;
  const std::vector<SharedCores>& shared_;
  std::vector<std::size_t> next_;  ///< [stage] into its order
  std::vector<Running> running_;
  std::vector<bool> working_;
  std::vector<Line> lines_;
  std::vector<std::vector<std::size_t>> sends_, inputs_;  ///< [key] lines
  std::vector<int> done_;                                 ///< [key] last microbatch
  std::map<std::pair<int, int>, std::size_t> pairs_;
  std::vector<double> free_;                     ///< when each pair's transfers have ended
  std::multimap<double, std::size_t> arrivals_;  ///< line by time
  double now_ = 0.0;
  TableRun run_;
};

bool are_finite(const std::vector<ChunkTimes>& chunks) {
  return std::all_of(chunks.begin(), chunks.end(), [](const ChunkTimes& t) {
    return std::isfinite(t.forward.value) && std::isfinite(t.backward.value) &&
           std::isfinite(t.weights.value);
  });
}

}  // namespace

std::vector<double> speeds(const std::vector<bool>& working,
                           const std::vector<SharedCores>& shared) {
  std::vector<double> fast(working.size(), kNever);
  for (const SharedCores& host : shared) {
    int busy = 0;
    for (std::size_t i = 0; i < host.stages.size(); ++i) {
      if (working[at(host.stages[i])]) busy += host.devices[i];
    }
    const double whole_core = host.total / host.cores;
    const double speed = std::max(1.0, std::min(whole_core, 1.0 * host.total / std::max(1, busy)));
    for (const int stage : host.stages) fast[at(stage)] = std::min(fast[at(stage)], speed);
  }
  for (double& speed : fast) {
    if (speed == kNever) speed = 1.0;  // on hosts that share nothing
  }
  return fast;
}

TableRun run_table(const Schedule& table, const std::vector<ChunkTimes>& chunks,
                   const std::vector<StageTransfer>& transfers,
                   const std::vector<SharedCores>& shared) {
  if (!are_finite(chunks)) return {kNever, std::vector<double>(table.order.size(), 0.0)};
  if (shared.empty()) return run_alone(table, chunks, transfers);
  return Table(table, chunks, transfers, shared).run();
}

Seconds makespan(const Schedule& table, const std::vector<ChunkTimes>& chunks,
                 const std::vector<StageTransfer>& transfers,
                 const std::vector<SharedCores>& shared) {
  return {run_table(table, chunks, transfers, shared).makespan};
}

Seconds makespan(PipelineKind kind, const std::vector<int>& warm_up, int microbatches,
                 const std::vector<StageTimes>& stages, const std::vector<StageTransfer>& transfers,
                 const std::vector<SharedCores>& shared) {
  ALPA_CHECK(kind == PipelineKind::gpipe || kind == PipelineKind::one_f_one_b);
  const int count = static_cast<int>(stages.size());
  std::vector<ChunkTimes> chunks;
  chunks.reserve(stages.size());
  for (const StageTimes& t : stages) chunks.push_back({t.forward, t.backward, {}});
  if (shared.empty() && are_finite(chunks)) {
    std::vector<int> depth = warm_up;
    if (kind == PipelineKind::gpipe) depth.assign(stages.size(), microbatches);
    if (depth.empty()) depth = least_warm_up(count);
    return {run_alone(depth, microbatches, chunks, transfers).makespan};
  }
  const Schedule table = kind == PipelineKind::gpipe ? gpipe(count, microbatches)
                                                     : one_f_one_b(count, microbatches, warm_up);
  return makespan(table, chunks, transfers, shared);
}

}  // namespace alpa
