#pragma once

#include <compare>
#include <string>
#include <vector>

namespace alpa {

/// One piece of work of a schedule: a chunk's forward or backward for one microbatch.
struct Work {
  int chunk = 0;
  bool backward = false;
  int microbatch = 0;
  friend bool operator==(const Work&, const Work&) = default;
  friend auto operator<=>(const Work&, const Work&) = default;
};

/// Who does what when. Chunks stand in the order of the layers; `stage_of_chunk` says who holds
/// them. A row is one slot of time; what a row produces is used in later rows, and the messages of
/// one row are exchanged together.
struct Schedule {
  std::vector<int> stage_of_chunk;
  int num_stages = 1;
  int num_microbatches = 1;
  std::vector<std::vector<Work>> order;  ///< [stage]: work in the order it runs
  std::vector<std::vector<int>> row;     ///< [stage][k]: row of order[stage][k], ascending
  int num_rows = 0;
};

/// All forwards, then all backwards, stage s holding chunk s. In flight: all microbatches.
[[nodiscard]] Schedule gpipe(int num_stages, int num_microbatches);

/// One forward, one backward in turn after warm_up[s] forwards on stage s (empty: S - s). In flight
/// on stage s: min(warm_up[s], B).  @pre S - s <= warm_up[s], non-increasing
/// (Narayanan et al., SC'21; deeper warm-up hides transfers for more stash.)
[[nodiscard]] Schedule one_f_one_b(int num_stages, int num_microbatches,
                                   const std::vector<int>& warm_up = {});

/// Forwards alone, for evaluation.
[[nodiscard]] Schedule forward_only(int num_stages, int num_microbatches);

/// The row of a piece of work, or -1 if the schedule lacks it.
[[nodiscard]] int row_of(const Schedule& schedule, const Work& work);

/// Rows separated by '|', a column per stage, "microbatch.stage" as in "1.0", backward as
/// microbatch.(2S-1-stage), '-' where a stage waits.
[[nodiscard]] std::string to_text(const Schedule& schedule);

/// A value of microbatch m lives in rows [begin, end].
struct Interval {
  int begin = 0;
  int end = 0;
};

/// Fewest slots such that intervals that share a row have different slots (greedy by begin, which
/// is optimal for intervals). slot[m] belongs to intervals[m].
struct Slots {
  std::vector<int> slot;
  int count = 0;
};
[[nodiscard]] Slots color(const std::vector<Interval>& intervals);

}  // namespace alpa
