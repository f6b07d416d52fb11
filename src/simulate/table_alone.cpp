#include <algorithm>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/schedule/schedule.hpp"

#include "table_run.hpp"

namespace alpa {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

class Table {
 public:
  Table(const Schedule& schedule, const std::vector<ChunkTimes>& chunks,
        const std::vector<StageTransfer>& transfers)
      : schedule_(schedule),
        chunks_(static_cast<int>(chunks.size())),
        parts_(2 * chunks.size()),
        next_(schedule.order.size(), 0),
        stage_free_(schedule.order.size(), 0.0) {
    ALPA_CHECK(chunks.size() == schedule.stage_of_chunk.size());
    for (int c = 0; c < chunks_; ++c) {
      const ChunkTimes& times = chunks[at(c)];
      part(c, false).seconds = times.forward.value;
      part(c, true).seconds = times.backward.value;
      part(c, true).weights = times.weights.value;
      if (c > 0) part(c, false).before = &part(c - 1, false);
      if (c + 1 < chunks_) part(c, true).before = &part(c + 1, true);
    }
    lines_.reserve(transfers.size());
    for (const StageTransfer& t : transfers) add_transfer(t);
    run_.busy.assign(schedule.order.size(), 0.0);
  }

  TableRun run() {
    bool moved = true;
    while (moved) {
      moved = false;
      for (std::size_t s = 0; s < next_.size(); ++s) moved = go_on(s) || moved;
    }
    for (std::size_t s = 0; s < next_.size(); ++s) {
      ALPA_CHECK(next_[s] == schedule_.order[s].size());  // else the table deadlocks
    }
    return std::move(run_);
  }

 private:
  /// One kind of transfer. What is sent between two stages leaves in the order in which the sender
  /// makes it, which is known as it works in order.
  struct Line {
    double seconds = 0.0;
    std::size_t pair = 0;          ///< into pair_free_
    std::vector<double> arrivals;  ///< [microbatch], as far as they are known
  };

  /// A chunk's forwards or backwards.
  struct Part {
    double seconds = 0.0, weights = 0.0;
    const Part* before = nullptr;              ///< whose microbatch must have ended
    std::vector<std::size_t> inputs, outputs;  ///< lines
    std::vector<double> ends;                  ///< [microbatch], as far as they are known
  };

  Part& part(int chunk, bool backward) { return parts_[2 * at(chunk) + (backward ? 1 : 0)]; }

  void add_transfer(const StageTransfer& t) {
    const std::pair stages{schedule_.stage_of_chunk[at(t.from)],
                           schedule_.stage_of_chunk[at(t.to)]};
    const auto [it, is_new] = pairs_.try_emplace(stages, pair_free_.size());
    if (is_new) pair_free_.push_back(0.0);
    part(t.from, t.backward).outputs.push_back(lines_.size());
    part(t.to, t.backward || t.from > t.to).inputs.push_back(lines_.size());
    lines_.push_back({t.time.value, it->second, {}});
  }

  /// A stage's work as far as it is known when it may begin; false if there is none.
  bool go_on(std::size_t s) {
    const std::vector<Work>& order = schedule_.order[s];
    const std::size_t from = next_[s];
    for (; next_[s] < order.size(); ++next_[s]) {
      const Work& work = order[next_[s]];
      Part& mine = part(work.chunk, work.backward);
      double begin = stage_free_[s];
      const auto m = at(work.microbatch);
      if (!work.weights && !wait(mine, m, begin)) break;
      const double end = begin + (work.weights ? mine.weights : mine.seconds);
      run_.busy[s] += end - begin;
      run_.makespan = std::max(run_.makespan, end);
      stage_free_[s] = end;
      if (work.weights) continue;
      mine.ends.push_back(end);
      for (const std::size_t line : mine.outputs) {
        double& free = pair_free_[lines_[line].pair];
        free = std::max(free, end) + lines_[line].seconds;
        lines_[line].arrivals.push_back(free);
      }
    }
    return next_[s] > from;
  }

  /// Puts off `begin` until all that microbatch m of a part needs is there; false if that is not
  /// known.
  [[nodiscard]] bool wait(const Part& mine, std::size_t m, double& begin) const {
    if (mine.before != nullptr) {
      if (mine.before->ends.size() <= m) return false;
      begin = std::max(begin, mine.before->ends[m]);
    }
    for (const std::size_t line : mine.inputs) {
      if (lines_[line].arrivals.size() <= m) return false;
      begin = std::max(begin, lines_[line].arrivals[m]);
    }
    return true;
  }

  const Schedule& schedule_;
  int chunks_;
  std::vector<Part> parts_;
  std::vector<std::size_t> next_;  ///< [stage] into its order
  std::vector<double> stage_free_;
  std::vector<Line> lines_;
  std::map<std::pair<int, int>, std::size_t> pairs_;
  std::vector<double> pair_free_;  ///< when each pair's transfers have ended
  TableRun run_;
};

}  // namespace

TableRun run_alone(const Schedule& table, const std::vector<ChunkTimes>& chunks,
                   const std::vector<StageTransfer>& transfers) {
  return Table(table, chunks, transfers).run();
}

}  // namespace alpa
