#include <algorithm>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/schedule/schedule.hpp"

#include "table_run.hpp"

namespace alpa {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// The work of a table that each stage has before it.
class OrderOfTable {
 public:
  explicit OrderOfTable(const Schedule& schedule)
      : schedule_(schedule), next_(schedule.order.size(), 0) {}

  [[nodiscard]] std::size_t stages() const { return next_.size(); }
  [[nodiscard]] int microbatches() const { return schedule_.num_microbatches; }
  [[nodiscard]] int stage_of(int chunk) const { return schedule_.stage_of_chunk[at(chunk)]; }
  /// Null: the stage has ended.
  [[nodiscard]] const Work* next(std::size_t s) const {
    const auto& order = schedule_.order[s];
    return next_[s] < order.size() ? &order[next_[s]] : nullptr;
  }
  void go_on(std::size_t s) { ++next_[s]; }

 private:
  const Schedule& schedule_;
  std::vector<std::size_t> next_;
};

/// The same of 1F1B (see one_f_one_b), and of GPipe, whose depth is the number of microbatches.
class OrderOfPipeline {
 public:
  OrderOfPipeline(const std::vector<int>& depth, int microbatches)
      : depth_(depth), microbatches_(microbatches), next_(depth.size()), done_(depth.size()) {
    for (std::size_t s = 0; s < depth.size(); ++s) next_[s].chunk = static_cast<int>(s);
  }

  [[nodiscard]] std::size_t stages() const { return depth_.size(); }
  [[nodiscard]] int microbatches() const { return microbatches_; }
  [[nodiscard]] int stage_of(int chunk) const { return chunk; }
  [[nodiscard]] const Work* next(std::size_t s) const {
    return done_[s].backward < microbatches_ ? &next_[s] : nullptr;
  }
  void go_on(std::size_t s) {
    auto& [forward, backward] = done_[s];
    ++(next_[s].backward ? backward : forward);
    next_[s].backward = forward == microbatches_ || forward - backward >= depth_[s];
    next_[s].microbatch = next_[s].backward ? backward : forward;
  }

 private:
  struct Done {
    int forward = 0, backward = 0;
  };
  const std::vector<int>& depth_;
  int microbatches_;
  std::vector<Work> next_;
  std::vector<Done> done_;
};

template <class Order>
class Table {
 public:
  Table(Order order, const std::vector<ChunkTimes>& chunks,
        const std::vector<StageTransfer>& transfers)
      : order_(std::move(order)),
        chunks_(static_cast<int>(chunks.size())),
        parts_(2 * chunks.size()),
        stage_free_(order_.stages(), 0.0) {
    for (Part& part : parts_) part.ends.reserve(at(order_.microbatches()));
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
    run_.busy.assign(order_.stages(), 0.0);
  }

  TableRun run() {
    // Forwards go down the stages, backwards up.
    bool moved = true;
    while (moved) {
      moved = false;
      for (std::size_t s = 0; s < order_.stages(); ++s) moved = go_on(s) || moved;
      for (std::size_t s = order_.stages(); s-- > 0;) moved = go_on(s) || moved;
    }
    for (std::size_t s = 0; s < order_.stages(); ++s) {
      ALPA_CHECK(order_.next(s) == nullptr);  // else the table deadlocks
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
    const std::pair stages{order_.stage_of(t.from), order_.stage_of(t.to)};
    const auto [it, is_new] = pairs_.try_emplace(stages, pair_free_.size());
    if (is_new) pair_free_.push_back(0.0);
    part(t.from, t.backward).outputs.push_back(lines_.size());
    part(t.to, t.backward || t.from > t.to).inputs.push_back(lines_.size());
    lines_.push_back({t.time.value, it->second, {}});
    lines_.back().arrivals.reserve(at(order_.microbatches()));
  }

  /// A stage's work as far as it is known when it may begin; false if there is none.
  bool go_on(std::size_t s) {
    bool moved = false;
    for (; const Work* next = order_.next(s); order_.go_on(s)) {
      const Work& work = *next;
      Part& mine = part(work.chunk, work.backward);
      double begin = stage_free_[s];
      const auto m = at(work.microbatch);
      if (!work.weights && !wait(mine, m, begin)) break;
      const double end = begin + (work.weights ? mine.weights : mine.seconds);
      run_.busy[s] += end - begin;
      run_.makespan = std::max(run_.makespan, end);
      stage_free_[s] = end;
      moved = true;
      if (work.weights) continue;
      mine.ends.push_back(end);
      for (const std::size_t line : mine.outputs) {
        double& free = pair_free_[lines_[line].pair];
        free = std::max(free, end) + lines_[line].seconds;
        lines_[line].arrivals.push_back(free);
      }
    }
    return moved;
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

  Order order_;
  int chunks_;
  std::vector<Part> parts_;
  std::vector<double> stage_free_;
  std::vector<Line> lines_;
  std::map<std::pair<int, int>, std::size_t> pairs_;
  std::vector<double> pair_free_;  ///< when each pair's transfers have ended
  TableRun run_;
};

}  // namespace

TableRun run_alone(const Schedule& table, const std::vector<ChunkTimes>& chunks,
                   const std::vector<StageTransfer>& transfers) {
  ALPA_CHECK(chunks.size() == table.stage_of_chunk.size());
  return Table(OrderOfTable(table), chunks, transfers).run();
}

TableRun run_alone(const std::vector<int>& depth, int microbatches,
                   const std::vector<ChunkTimes>& stages,
                   const std::vector<StageTransfer>& transfers) {
  ALPA_CHECK(stages.size() == depth.size());
  return Table(OrderOfPipeline(depth, microbatches), stages, transfers).run();
}

}  // namespace alpa
