#include "alpa/schedule/schedule.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <utility>

#include <gtest/gtest.h>

#include "schedule/reference_rows.hpp"

namespace alpa {
namespace {

/// Largest number of stashes of any chunk that a stage holds.
int stashes_of_stage(const Schedule& s, int stage) {
  int now = 0;
  int most = 0;
  for (const Work& w : s.order[static_cast<std::size_t>(stage)]) {
    most = std::max(most, now += w.backward ? -1 : 1);
  }
  return most;
}

/// What the forward, the backward (of inputs) and the backward of parameters of each chunk take.
struct Times {
  std::vector<double> forward, backward, weights;
  [[nodiscard]] double of(const Work& w) const {
    const auto& times = w.weights ? weights : w.backward ? backward : forward;
    return times[static_cast<std::size_t>(w.chunk)];
  }
};

std::vector<Work> needs(const Work& w, int chunks) {
  if (w.weights) return {{w.chunk, true, w.microbatch}};
  if (!w.backward) {
    if (w.chunk == 0) return {};
    return {{w.chunk - 1, false, w.microbatch}};
  }
  std::vector<Work> before{{w.chunk, false, w.microbatch}};
  if (w.chunk + 1 < chunks) before.push_back({w.chunk + 1, true, w.microbatch});
  return before;
}

/// End of the last work where each starts as soon as its stage is free and what it needs is there.
double makespan(const Schedule& s, const Times& times) {
  std::map<Work, double> end;
  std::vector<std::size_t> next(s.order.size(), 0);
  std::vector<double> free(s.order.size(), 0.0);
  const int chunks = static_cast<int>(s.stage_of_chunk.size());
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t stage = 0; stage < s.order.size(); ++stage) {
      while (next[stage] < s.order[stage].size()) {
        const Work& w = s.order[stage][next[stage]];
        const auto before = needs(w, chunks);
        if (!std::all_of(before.begin(), before.end(), [&](auto& b) { return end.contains(b); })) {
          break;
        }
        double start = free[stage];
        for (const Work& b : before) start = std::max(start, end.at(b));
        end[w] = free[stage] = start + times.of(w);
        ++next[stage];
        moved = true;
      }
    }
  }
  for (std::size_t stage = 0; stage < s.order.size(); ++stage) {
    EXPECT_EQ(next[stage], s.order[stage].size()) << "the order deadlocks";
  }
  return *std::max_element(free.begin(), free.end());
}

Times equal_times(const Schedule& s, double forward, double backward, double weights = 0.0) {
  const std::size_t chunks = s.stage_of_chunk.size();
  return {std::vector<double>(chunks, forward), std::vector<double>(chunks, backward),
          std::vector<double>(chunks, weights)};
}

std::string order_text(const Schedule& s, std::size_t stage) {
  std::string text;
  for (const Work& w : s.order[stage]) {
    text += (text.empty() ? "" : " ") + std::string(w.backward ? "B" : "F") +
            std::to_string(w.microbatch);
  }
  return text;
}

TEST(Schedule, RowsOf1F1BAreThoseOfTheReference) {
  EXPECT_EQ(to_text(one_f_one_b(3, 4)),
            "0.0 - - | 1.0 0.1 - | 2.0 1.1 0.2 | - - 0.3 | - 0.4 1.2 | 0.5 2.1 1.3 | "
            "3.0 1.4 2.2 | 1.5 3.1 2.3 | - 2.4 3.2 | 2.5 - 3.3 | - 3.4 - | 3.5 - -");
}

TEST(Schedule, RowsOfGPipe) {
  EXPECT_EQ(to_text(gpipe(2, 2)), "0.0 - | 1.0 0.1 | - 1.1 | - 0.2 | 0.3 1.2 | 1.3 -");
  EXPECT_EQ(to_text(forward_only(2, 2)), "0.0 - | 1.0 0.1 | - 1.1");
}

TEST(Schedule, MatchesReferenceMakespansOrdersAndDepths) {
  for (const test::ScheduleRow& row : test::kScheduleRows) {
    const int stages = static_cast<int>(row.forward.size());
    const Schedule s = row.schedule == "gpipe" ? gpipe(stages, row.microbatches)
                                               : one_f_one_b(stages, row.microbatches);
    const std::string name =
        row.schedule + " S=" + std::to_string(stages) + " B=" + std::to_string(row.microbatches);
    EXPECT_NEAR(makespan(s, {row.forward, row.backward, {}}), row.makespan, 1e-9) << name;
    for (std::size_t i = 0; i < row.in_flight.size(); ++i) {
      EXPECT_EQ(in_flight(s, static_cast<int>(i)), row.in_flight[i]) << name << " stage " << i;
      if (i < row.order.size()) {
        EXPECT_EQ(order_text(s, i), row.order[i]) << name << " stage " << i;
      }
    }
  }
}

TEST(Schedule, InFlight) {
  for (int stages = 1; stages <= 8; ++stages) {
    for (int b = 1; b <= 16; ++b) {
      const Schedule all = gpipe(stages, b);
      const Schedule one = one_f_one_b(stages, b);
      for (int s = 0; s < stages; ++s) {
        EXPECT_EQ(in_flight(all, s), b);
        EXPECT_EQ(in_flight(one, s), std::min(stages - s, b));
      }
    }
  }
}

TEST(Schedule, InFlightIsTheWarmUpDepth) {
  for (int stages = 1; stages <= 5; ++stages) {
    for (const int b : {1, 3, 8, 12}) {
      std::vector<int> depth;
      for (int s = 0; s < stages; ++s) depth.push_back(2 * (stages - s) - 1);
      const Schedule deep = one_f_one_b(stages, b, depth);
      for (int s = 0; s < stages; ++s) {
        EXPECT_EQ(in_flight(deep, s), std::min(depth[static_cast<std::size_t>(s)], b));
      }
    }
  }
}

/// Every work once, `parts` for each chunk and microbatch; a row later than all it needs; one work
/// a row and stage.
void expect_sound(const Schedule& s, int parts, const std::string& name) {
  std::map<Work, int> rows;
  for (std::size_t stage = 0; stage < s.order.size(); ++stage) {
    ASSERT_EQ(s.order[stage].size(), s.row[stage].size());
    for (std::size_t k = 0; k < s.order[stage].size(); ++k) {
      const Work& w = s.order[stage][k];
      EXPECT_EQ(s.stage_of_chunk[static_cast<std::size_t>(w.chunk)], static_cast<int>(stage));
      EXPECT_TRUE(rows.emplace(w, s.row[stage][k]).second) << name;
      EXPECT_EQ(row_of(s, w), s.row[stage][k]);
      if (k > 0) {
        EXPECT_LT(s.row[stage][k - 1], s.row[stage][k]) << name;
      }
    }
  }
  const int chunks = static_cast<int>(s.stage_of_chunk.size());
  EXPECT_EQ(rows.size(), static_cast<std::size_t>(chunks * s.num_microbatches * parts)) << name;
  for (const auto& [w, row] : rows) {
    EXPECT_LT(row, s.num_rows);
    EXPECT_LT(w.microbatch, s.num_microbatches);
    for (const Work& before : needs(w, chunks)) EXPECT_GT(row, rows.at(before)) << name;
  }
}

TEST(Schedule, EveryWorkRunsOnceAfterWhatItNeeds) {
  for (int stages = 1; stages <= 6; ++stages) {
    for (int b = 1; b <= 9; ++b) {
      std::vector<int> deep;
      for (int s = 0; s < stages; ++s) deep.push_back(2 * (stages - s) - 1);
      const std::string size = " " + std::to_string(stages) + " " + std::to_string(b);
      expect_sound(gpipe(stages, b), 2, "gpipe" + size);
      expect_sound(one_f_one_b(stages, b), 2, "1f1b" + size);
      expect_sound(one_f_one_b(stages, b, deep), 2, "deep 1f1b" + size);
      expect_sound(forward_only(stages, b), 1, "forward" + size);
      expect_sound(zero_bubble(stages, b), 3, "zero bubble" + size);
      for (const int chunks : {2, 3}) {
        expect_sound(interleaved(stages, chunks, b), 2, "interleaved" + size);
        expect_sound(forward_only(stages, b, chunks), 1, "forward of chunks" + size);
      }
    }
  }
  EXPECT_EQ(row_of(gpipe(2, 2), {0, false, 2}), -1);
}

TEST(Schedule, RowsOfInterleaved1F1B) {
  EXPECT_EQ(to_text(interleaved(2, 2, 2)),
            "0.0 - | 1.0 0.1 | 0.2 1.1 | 1.2 0.3 | - 0.4 | 0.5 1.3 | - 1.4 | 1.5 0.6 | 0.7 1.6 | "
            "1.7 -");
  EXPECT_EQ(to_text(forward_only(2, 2, 2)), "0.0 - | 1.0 0.1 | 0.2 1.1 | 1.2 0.3 | - 1.3");
}

/// Narayanan et al.: the bubble is (S-1)/(V*B) of the time without one.
TEST(Schedule, InterleavingDividesTheBubbleByTheChunks) {
  for (const int stages : {1, 2, 3, 4, 8}) {
    for (const int chunks : {2, 3, 4}) {
      for (const int rounds : {1, 2, 5}) {
        const int b = stages * rounds;
        for (const auto& [f, w] : {std::pair{1.0, 1.0}, {1.0, 2.0}, {3.0, 1.0}}) {
          const Schedule s = interleaved(stages, chunks, b);
          const double ideal = chunks * b * (f + w);
          const double bubble = makespan(s, equal_times(s, f, w)) / ideal - 1;
          EXPECT_NEAR(bubble, (stages - 1.0) / (chunks * b), 1e-12)
              << stages << " " << chunks << " " << b;
        }
      }
    }
  }
}

/// Between the full groups before it and the one that it fills up.
TEST(Schedule, AShortLastGroupTakesNoLongerThanAFullOne) {
  for (const int stages : {2, 3, 4, 6}) {
    for (int b = 1; b <= 3 * stages; ++b) {
      const Schedule s = interleaved(stages, 2, b);
      const Schedule full = interleaved(stages, 2, (b + stages - 1) / stages * stages);
      const double time = makespan(s, equal_times(s, 1, 2));
      EXPECT_LE(time, makespan(full, equal_times(full, 1, 2))) << stages << " " << b;
      EXPECT_GE(time, 2 * b * 3 + (stages - 1) * 3) << stages << " " << b;
    }
  }
}

/// Chunks' stashes, each 1/V of a stage's: S*(1 + (S-1)/(S*V)) microbatches on the first stage.
TEST(Schedule, InFlightOfInterleaved) {
  for (const int stages : {2, 3, 4, 6}) {
    for (const int chunks : {2, 3}) {
      for (const int b : {stages, 2 * stages, 4 * stages}) {
        const Schedule s = interleaved(stages, chunks, b);
        for (int stage = 0; stage < stages; ++stage) {
          const int warm_up = 2 * (stages - stage - 1) + (chunks - 1) * stages;
          EXPECT_EQ(stashes_of_stage(s, stage), std::min(warm_up + 1, chunks * b));
        }
      }
    }
  }
}

TEST(Schedule, RowsOfZeroBubble) {
  EXPECT_EQ(to_text(zero_bubble(2, 3)),
            "0.0 - | 1.0 0.1 | - 0.2 | 0.3 1.1 | 0.w0 1.2 | 2.0 0.w1 | 1.3 2.1 | 1.w0 2.2 | "
            "2.3 1.w1 | 2.w0 2.w1");
}

/// Never more than the first stage of 1F1B, which has most.
TEST(Schedule, ZeroBubbleHoldsNoMoreThan1F1B) {
  for (int stages = 1; stages <= 8; ++stages) {
    for (int b = 1; b <= 20; ++b) {
      const int most = in_flight(one_f_one_b(stages, b), 0);
      for (int s = 0; s < stages; ++s) {
        EXPECT_EQ(in_flight(zero_bubble(stages, b), s), most) << stages << " " << b;
      }
    }
  }
}

/// The last round waits for what the stages behind have ahead of it, as 1F1B of double speed does;
/// each round before it holds a group more.
TEST(Schedule, InFlightOfAChunk) {
  for (const int stages : {2, 4, 6}) {
    const Schedule s = interleaved(stages, 2, 4 * stages);
    for (int stage = 0; stage < stages; ++stage) {
      const int last = std::min(stages, 2 * (stages - stage) - 1);
      EXPECT_EQ(in_flight(s, stages + stage), last);
      EXPECT_EQ(in_flight(s, stage), stages + last);
    }
  }
}

/// Qi et al., table 1: the bubble is (S-1)(f + b - w), that of 1F1B (S-1)(f + b + w).
TEST(Schedule, BubbleOfZeroBubble) {
  for (int stages = 1; stages <= 8; ++stages) {
    for (const int b : {stages, stages + 1, 2 * stages, 5 * stages}) {
      for (const auto& [f, i, w] : {std::tuple{1.0, 1.0, 1.0}, {2.0, 3.0, 1.0}, {3.0, 2.0, 2.0}}) {
        const Schedule s = zero_bubble(stages, b);
        const double work = b * (f + i + w);
        EXPECT_NEAR(makespan(s, equal_times(s, f, i, w)), work + (stages - 1) * (f + i - w), 1e-9);
        const Schedule plain = one_f_one_b(stages, b);
        EXPECT_NEAR(makespan(plain, equal_times(plain, f, i + w)),
                    work + (stages - 1) * (f + i + w), 1e-9);
      }
    }
  }
}

// As many slots as intervals that meet at one time, and no two of those share a slot.
TEST(Color, UsesTheFewestSlots) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<Interval> intervals;
    const auto count = 1 + random() % 12;
    for (std::size_t i = 0; i < count; ++i) {
      const int begin = static_cast<int>(random() % 20);
      intervals.push_back({begin, begin + static_cast<int>(random() % 8)});
    }
    const Slots slots = color(intervals);
    int most = 0;
    for (int row = 0; row < 30; ++row) {
      std::set<int> used;
      int live = 0;
      for (std::size_t i = 0; i < count; ++i) {
        if (row < intervals[i].begin || row > intervals[i].end) continue;
        ++live;
        EXPECT_TRUE(used.insert(slots.slot[i]).second) << "slot shared in row " << row;
      }
      most = std::max(most, live);
    }
    EXPECT_EQ(slots.count, most);
  }
}

}  // namespace
}  // namespace alpa
