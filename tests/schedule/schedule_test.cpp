#include "alpa/schedule/schedule.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "schedule/reference_rows.hpp"

namespace alpa {
namespace {

/// Largest number of microbatches whose forward has run and whose backward has not.
int in_flight(const Schedule& s, int stage) {
  int now = 0;
  int most = 0;
  for (const Work& w : s.order[static_cast<std::size_t>(stage)]) {
    most = std::max(most, now += w.backward ? -1 : 1);
  }
  return most;
}

/// End of the last work where each starts as soon as its stage is free and what it needs is there.
double makespan(const Schedule& s, const std::vector<double>& forward,
                const std::vector<double>& backward) {
  std::map<Work, double> end;
  std::vector<std::size_t> next(s.order.size(), 0);
  std::vector<double> free(s.order.size(), 0.0);
  const int last = static_cast<int>(s.order.size()) - 1;
  const auto needs = [&](const Work& w) -> std::vector<Work> {
    if (!w.backward) {
      if (w.chunk == 0) return {};
      return {{w.chunk - 1, false, w.microbatch}};
    }
    std::vector<Work> before{{w.chunk, false, w.microbatch}};
    if (w.chunk < last) before.push_back({w.chunk + 1, true, w.microbatch});
    return before;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t stage = 0; stage < s.order.size(); ++stage) {
      while (next[stage] < s.order[stage].size()) {
        const Work& w = s.order[stage][next[stage]];
        const auto before = needs(w);
        if (!std::all_of(before.begin(), before.end(), [&](auto& b) { return end.contains(b); })) {
          break;
        }
        double start = free[stage];
        for (const Work& b : before) start = std::max(start, end.at(b));
        end[w] = free[stage] = start + (w.backward ? backward[stage] : forward[stage]);
        ++next[stage];
        moved = true;
      }
    }
  }
  return *std::max_element(free.begin(), free.end());
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
    EXPECT_NEAR(makespan(s, row.forward, row.backward), row.makespan, 1e-9) << name;
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

/// Every work once; a row later than all it needs; one work a row and stage.
void expect_sound(const Schedule& s, bool training, const std::string& name) {
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
  const int last = s.num_stages - 1;
  EXPECT_EQ(rows.size(),
            static_cast<std::size_t>(s.num_stages * s.num_microbatches * (training ? 2 : 1)));
  for (const auto& [w, row] : rows) {
    EXPECT_LT(row, s.num_rows);
    if (!w.backward && w.chunk > 0) {
      EXPECT_GT(row, rows.at({w.chunk - 1, false, w.microbatch})) << name;
    }
    if (w.backward) {
      EXPECT_GT(row, rows.at({w.chunk, false, w.microbatch})) << name;
    }
    if (w.backward && w.chunk < last) {
      EXPECT_GT(row, rows.at({w.chunk + 1, true, w.microbatch})) << name;
    }
  }
}

TEST(Schedule, EveryWorkRunsOnceAfterWhatItNeeds) {
  for (int stages = 1; stages <= 6; ++stages) {
    for (int b = 1; b <= 9; ++b) {
      std::vector<int> deep;
      for (int s = 0; s < stages; ++s) deep.push_back(2 * (stages - s) - 1);
      const std::string size = " " + std::to_string(stages) + " " + std::to_string(b);
      expect_sound(gpipe(stages, b), true, "gpipe" + size);
      expect_sound(one_f_one_b(stages, b), true, "1f1b" + size);
      expect_sound(one_f_one_b(stages, b, deep), true, "deep 1f1b" + size);
      expect_sound(forward_only(stages, b), false, "forward" + size);
    }
  }
  EXPECT_EQ(row_of(gpipe(2, 2), {0, false, 2}), -1);
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
