#pragma once

#include <compare>
#include <string>
#include <vector>

namespace alpa {

/// One piece of work of a schedule: a chunk's forward or backward for one microbatch.
struct Work {
  int chunk = 0;
  bool backward = false;  ///< the whole one or, in tables that split it, the gradients of inputs
  int microbatch = 0;
  bool weights = false;  ///< of a split backward, the gradients of parameters; on no one's way
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

/// S - s: the least depth that keeps 1F1B going.
[[nodiscard]] std::vector<int> least_warm_up(int num_stages);
/// 2(S - s) - 1: hides transfers, there and back, of up to half a stage's time for a microbatch.
[[nodiscard]] std::vector<int> most_warm_up(int num_stages);

/// Interleaved 1F1B (Narayanan et al., SC'21): stage s holds chunks s, S + s, ..., (V-1)S + s.
/// Microbatches go in groups of S, a group through one chunk of a stage after the other; stage s
/// runs 2(S-s-1) + (V-1)S forwards before it alternates, and holds at most one chunk's stash more
/// than that. Equal chunks in which a stage takes t for a microbatch in all: B*t + (S-1)*t/V where
/// S divides B; a last group that is short goes as a full one whose missing microbatches take no
/// time.
/// @pre chunks_per_stage >= 2
[[nodiscard]] Schedule interleaved(int num_stages, int chunks_per_stage, int num_microbatches);

/// ZB-H1 (Qi et al., ICLR 2024): 1F1B with each backward in two halves, the gradients of inputs,
/// which the stage before waits for, and those of parameters, s backwards later on stage s. A stash
/// is let go after the second half: in flight on every stage min(S, B), as on the first of 1F1B.
/// Equal stages with times f, b, w, w <= f, B >= S: B*(f + b + w) + (S-1)*(f + b - w).
[[nodiscard]] Schedule zero_bubble(int num_stages, int num_microbatches);

/// Forwards alone, for evaluation; chunks go round the stages as those of `interleaved`.
[[nodiscard]] Schedule forward_only(int num_stages, int num_microbatches, int chunks_per_stage = 1);

/// The row of a piece of work, or -1 if the schedule lacks it.
[[nodiscard]] int row_of(const Schedule& schedule, const Work& work);

/// Largest number of microbatches whose stash a chunk holds at once: forward run, backward not
/// ended.
[[nodiscard]] int in_flight(const Schedule& schedule, int chunk);

/// Rows separated by '|', a column per stage, "microbatch.chunk" as in "1.0", backward as
/// microbatch.(2C-1-chunk), gradients of parameters as microbatch.wchunk, '-' where a stage waits.
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
