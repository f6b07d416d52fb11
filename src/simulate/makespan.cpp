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

Schedule table_of(PipelineKind kind, const std::vector<int>& warm_up, int stages,
                  int microbatches) {
  return kind == PipelineKind::gpipe ? gpipe(stages, microbatches)
                                     : one_f_one_b(stages, microbatches, warm_up);
}

/// The work that a stage is at.
struct Running {
  double end = kNever;  ///< at the present speed; kNever: the stage waits
  double speed = 1.0;
  double begin = 0.0;
};

class Table {
 public:
  Table(Schedule schedule, const std::vector<StageTimes>& stages,
        const std::vector<StageTransfer>& transfers, const std::vector<SharedCores>& shared)
      : schedule_(std::move(schedule)),
        stages_(stages),
        shared_(shared),
        next_(stages.size(), 0),
        running_(stages.size()),
        working_(stages.size(), false),
        sends_(2 * stages.size()),
        inputs_(2 * stages.size()),
        done_(2 * stages.size(), -1) {
    run_.busy.assign(stages.size(), 0.0);
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
  /// order of their numbers.
  struct Line {
    StageTransfer what;
    std::size_t pair = 0;  ///< into free_
    int arrived = 0;       ///< microbatches
  };

  static std::size_t key(int stage, bool backward) { return 2 * at(stage) + (backward ? 1 : 0); }

  void add_transfer(const StageTransfer& t) {
    const auto [it, is_new] = pairs_.try_emplace({t.from, t.to}, free_.size());
    if (is_new) free_.push_back(0.0);
    const bool to_backward = t.backward || t.from > t.to;
    sends_[key(t.from, t.backward)].push_back(lines_.size());
    inputs_[key(t.to, to_backward)].push_back(lines_.size());
    lines_.push_back({t, it->second});
  }

  [[nodiscard]] const Work& work(std::size_t s) const { return schedule_.order[s][next_[s]]; }

  [[nodiscard]] bool ready(std::size_t s) const {
    const Work& w = work(s);
    const int stage = static_cast<int>(s);
    const int neighbour = w.backward ? stage + 1 : stage - 1;
    const bool first = neighbour < 0 || at(neighbour) == stages_.size();
    if (!first && done_[key(neighbour, w.backward)] < w.microbatch) return false;
    const auto& inputs = inputs_[key(stage, w.backward)];
    return std::all_of(inputs.begin(), inputs.end(),
                       [&](std::size_t line) { return lines_[line].arrived > w.microbatch; });
  }

  [[nodiscard]] double seconds(std::size_t s) const {
    return (work(s).backward ? stages_[s].backward : stages_[s].forward).value;
  }

  void start_what_is_ready() {
    for (std::size_t s = 0; s < stages_.size(); ++s) {
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
    done_[key(static_cast<int>(s), w.backward)] = w.microbatch;
    for (const std::size_t line : sends_[key(static_cast<int>(s), w.backward)]) {
      double& free = free_[lines_[line].pair];
      free = std::max(free, now_) + lines_[line].what.time.value;
      arrivals_.emplace(free, line);
    }
    ++next_[s];
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

  const Schedule schedule_;
  const std::vector<StageTimes>& stages_;
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

TableRun run_table(PipelineKind kind, const std::vector<int>& warm_up, int microbatches,
                   const std::vector<StageTimes>& stages,
                   const std::vector<StageTransfer>& transfers,
                   const std::vector<SharedCores>& shared) {
  const bool finite = std::all_of(stages.begin(), stages.end(), [](const StageTimes& t) {
    return std::isfinite(t.forward.value) && std::isfinite(t.backward.value);
  });
  if (!finite) return {kNever, std::vector<double>(stages.size(), 0.0)};
  const int count = static_cast<int>(stages.size());
  return Table(table_of(kind, warm_up, count, microbatches), stages, transfers, shared).run();
}

Seconds makespan(PipelineKind kind, const std::vector<int>& warm_up, int microbatches,
                 const std::vector<StageTimes>& stages, const std::vector<StageTransfer>& transfers,
                 const std::vector<SharedCores>& shared) {
  return {run_table(kind, warm_up, microbatches, stages, transfers, shared).makespan};
}

}  // namespace alpa
