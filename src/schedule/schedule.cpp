#include "alpa/schedule/schedule.hpp"

#include <algorithm>
#include <numeric>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

Schedule one_chunk_a_stage(int stages, int microbatches) {
  ALPA_CHECK(stages >= 1 && microbatches >= 1);
  Schedule s;
  s.num_stages = stages;
  s.num_microbatches = microbatches;
  s.stage_of_chunk.resize(at(stages));
  std::iota(s.stage_of_chunk.begin(), s.stage_of_chunk.end(), 0);
  s.order.resize(at(stages));
  return s;
}

/// Earliest row of each piece of work when every piece takes one row: after the one before it on
/// its stage, after the same microbatch's forward on the chunk before, or backward on the next.
void place_in_rows(Schedule& s) {
  const int chunks = static_cast<int>(s.stage_of_chunk.size());
  std::vector<int> placed(2 * at(chunks) * at(s.num_microbatches), -1);
  const auto place_of = [&](const Work& w) -> int& {
    return placed[at(2 * w.chunk + (w.backward ? 1 : 0)) * at(s.num_microbatches) +
                  at(w.microbatch)];
  };
  std::vector<std::size_t> next(at(s.num_stages), 0);
  s.row.assign(at(s.num_stages), {});
  const auto earliest = [&](const Work& w, int after) {
    int row = after + 1;
    const auto wait_for = [&](const Work& other) {
      const int other_row = place_of(other);
      row = std::max(row, other_row + 1);
      return other_row >= 0;
    };
    if (!w.backward) return w.chunk == 0 || wait_for({w.chunk - 1, false, w.microbatch}) ? row : -1;
    if (!wait_for({w.chunk, false, w.microbatch})) return -1;
    return w.chunk == chunks - 1 || wait_for({w.chunk + 1, true, w.microbatch}) ? row : -1;
  };
  bool moved = true;
  while (moved) {
    moved = false;
    for (int stage = 0; stage < s.num_stages; ++stage) {
      auto& k = next[at(stage)];
      while (k < s.order[at(stage)].size()) {
        const Work& w = s.order[at(stage)][k];
        const int row = earliest(w, k == 0 ? -1 : s.row[at(stage)].back());
        if (row < 0) break;
        s.row[at(stage)].push_back(row);
        place_of(w) = row;
        s.num_rows = std::max(s.num_rows, row + 1);
        ++k;
        moved = true;
      }
    }
  }
  for (int stage = 0; stage < s.num_stages; ++stage) {
    ALPA_CHECK(next[at(stage)] == s.order[at(stage)].size());  // else the order deadlocks
  }
}

}  // namespace

Schedule gpipe(int num_stages, int num_microbatches) {
  Schedule s = one_chunk_a_stage(num_stages, num_microbatches);
  for (int stage = 0; stage < num_stages; ++stage) {
    for (const bool backward : {false, true}) {
      for (int m = 0; m < num_microbatches; ++m) s.order[at(stage)].push_back({stage, backward, m});
    }
  }
  place_in_rows(s);
  return s;
}

Schedule one_f_one_b(int num_stages, int num_microbatches, const std::vector<int>& warm_up) {
  Schedule s = one_chunk_a_stage(num_stages, num_microbatches);
  ALPA_CHECK(warm_up.empty() || warm_up.size() == at(num_stages));
  for (int stage = 0; stage < num_stages; ++stage) {
    const int depth = warm_up.empty() ? num_stages - stage : warm_up[at(stage)];
    ALPA_CHECK(depth >= num_stages - stage);
    int forward = 0;
    int backward = 0;
    while (backward < num_microbatches) {
      const bool room = forward < num_microbatches && forward - backward < depth;
      if (room)
        s.order[at(stage)].push_back({stage, false, forward++});
      else
        s.order[at(stage)].push_back({stage, true, backward++});
    }
  }
  place_in_rows(s);
  return s;
}

Schedule forward_only(int num_stages, int num_microbatches) {
  Schedule s = one_chunk_a_stage(num_stages, num_microbatches);
  for (int stage = 0; stage < num_stages; ++stage) {
    for (int m = 0; m < num_microbatches; ++m) s.order[at(stage)].push_back({stage, false, m});
  }
  place_in_rows(s);
  return s;
}

int row_of(const Schedule& schedule, const Work& work) {
  const auto stage = at(schedule.stage_of_chunk.at(at(work.chunk)));
  const auto& order = schedule.order[stage];
  const auto it = std::find(order.begin(), order.end(), work);
  if (it == order.end()) return -1;
  return schedule.row[stage][static_cast<std::size_t>(it - order.begin())];
}

std::string to_text(const Schedule& schedule) {
  const int chunks = static_cast<int>(schedule.stage_of_chunk.size());
  std::string text;
  for (int row = 0; row < schedule.num_rows; ++row) {
    if (row > 0) text += " | ";
    for (int stage = 0; stage < schedule.num_stages; ++stage) {
      if (stage > 0) text += ' ';
      const auto& rows = schedule.row[at(stage)];
      const auto it = std::lower_bound(rows.begin(), rows.end(), row);
      if (it == rows.end() || *it != row) {
        text += '-';
        continue;
      }
      const Work& w = schedule.order[at(stage)][static_cast<std::size_t>(it - rows.begin())];
      text += std::to_string(w.microbatch) + "." +
              std::to_string(w.backward ? 2 * chunks - 1 - w.chunk : w.chunk);
    }
  }
  return text;
}

Slots color(const std::vector<Interval>& intervals) {
  std::vector<std::size_t> by_begin(intervals.size());
  std::iota(by_begin.begin(), by_begin.end(), std::size_t{0});
  std::stable_sort(by_begin.begin(), by_begin.end(), [&](std::size_t a, std::size_t b) {
    return intervals[a].begin < intervals[b].begin;
  });
  Slots slots{std::vector<int>(intervals.size(), 0), 0};
  std::vector<int> busy_until;
  for (const std::size_t i : by_begin) {
    const auto free = std::find_if(busy_until.begin(), busy_until.end(),
                                   [&](int end) { return end < intervals[i].begin; });
    slots.slot[i] = static_cast<int>(free - busy_until.begin());
    if (free == busy_until.end())
      busy_until.push_back(intervals[i].end);
    else
      *free = intervals[i].end;
  }
  slots.count = static_cast<int>(busy_until.size());
  return slots;
}

}  // namespace alpa
