#include "alpa/schedule/schedule.hpp"

#include <algorithm>
#include <numeric>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

Schedule empty_table(int stages, int microbatches, int chunks_per_stage = 1) {
  ALPA_CHECK(stages >= 1 && microbatches >= 1 && chunks_per_stage >= 1);
  Schedule s;
  s.num_stages = stages;
  s.num_microbatches = microbatches;
  for (int chunk = 0; chunk < stages * chunks_per_stage; ++chunk) {
    s.stage_of_chunk.push_back(chunk % stages);
  }
  s.order.resize(at(stages));
  return s;
}

/// A stage's forwards or backwards, group by group of as many microbatches as there are stages; the
/// last group is filled up with microbatches from `num_microbatches` on.
std::vector<Work> in_groups(const Schedule& s, int stage, bool backward) {
  const int chunks = static_cast<int>(s.stage_of_chunk.size());
  std::vector<Work> works;
  for (int first = 0; first < s.num_microbatches; first += s.num_stages) {
    for (int round = 0; round < chunks; round += s.num_stages) {
      const int chunk = backward ? chunks - s.num_stages - round + stage : round + stage;
      for (int m = first; m < first + s.num_stages; ++m) works.push_back({chunk, backward, m});
    }
  }
  return works;
}

/// Earliest row of each piece of work when every piece takes one row: after the one before it on
/// its stage, after the same microbatch's forward on the chunk before, or backward on the next, or
/// first half of the backward.
void place_in_rows(Schedule& s) {
  const int chunks = static_cast<int>(s.stage_of_chunk.size());
  std::vector<int> placed(3 * at(chunks) * at(s.num_microbatches), -1);
  const auto place_of = [&](const Work& w) -> int& {
    const int part = w.weights ? 2 : w.backward ? 1 : 0;
    return placed[at(3 * w.chunk + part) * at(s.num_microbatches) + at(w.microbatch)];
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
    if (w.weights) return wait_for({w.chunk, true, w.microbatch}) ? row : -1;
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
  Schedule s = empty_table(num_stages, num_microbatches);
  for (int stage = 0; stage < num_stages; ++stage) {
    for (const bool backward : {false, true}) {
      for (int m = 0; m < num_microbatches; ++m) s.order[at(stage)].push_back({stage, backward, m});
    }
  }
  place_in_rows(s);
  return s;
}

std::vector<int> least_warm_up(int num_stages) {
  std::vector<int> depth;
  for (int s = 0; s < num_stages; ++s) depth.push_back(num_stages - s);
  return depth;
}

std::vector<int> most_warm_up(int num_stages) {
  std::vector<int> depth;
  for (int s = 0; s < num_stages; ++s) depth.push_back(2 * (num_stages - s) - 1);
  return depth;
}

Schedule one_f_one_b(int num_stages, int num_microbatches, const std::vector<int>& warm_up) {
  Schedule s = empty_table(num_stages, num_microbatches);
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

Schedule interleaved(int num_stages, int chunks_per_stage, int num_microbatches) {
  ALPA_CHECK(chunks_per_stage >= 2);
  Schedule s = empty_table(num_stages, num_microbatches, chunks_per_stage);
  for (int stage = 0; stage < num_stages; ++stage) {
    const std::vector<Work> forwards = in_groups(s, stage, false);
    const std::vector<Work> backwards = in_groups(s, stage, true);
    const int warm_up = 2 * (num_stages - stage - 1) + (chunks_per_stage - 1) * num_stages;
    auto& order = s.order[at(stage)];
    std::size_t next = std::min(at(warm_up), forwards.size());
    order.assign(forwards.begin(), forwards.begin() + static_cast<std::ptrdiff_t>(next));
    for (const Work& backward : backwards) {
      if (next < forwards.size()) order.push_back(forwards[next++]);
      order.push_back(backward);
    }
    std::erase_if(order, [&](const Work& w) { return w.microbatch >= num_microbatches; });
  }
  place_in_rows(s);
  return s;
}

Schedule zero_bubble(int num_stages, int num_microbatches) {
  Schedule s = empty_table(num_stages, num_microbatches);
  for (int stage = 0; stage < num_stages; ++stage) {
    auto& order = s.order[at(stage)];
    int forward = 0;
    const auto add_forward = [&] {
      if (forward < num_microbatches) order.push_back({stage, false, forward++});
    };
    for (int warm_up = stage; warm_up < num_stages; ++warm_up) add_forward();
    for (int m = 0; m < num_microbatches + stage; ++m) {
      if (m < num_microbatches) order.push_back({stage, true, m});
      if (m >= stage) order.push_back({stage, true, m - stage, true});
      add_forward();
    }
  }
  place_in_rows(s);
  return s;
}

Schedule forward_only(int num_stages, int num_microbatches, int chunks_per_stage) {
  Schedule s = empty_table(num_stages, num_microbatches, chunks_per_stage);
  for (int stage = 0; stage < num_stages; ++stage) {
    auto& order = s.order[at(stage)];
    order = in_groups(s, stage, false);
    std::erase_if(order, [&](const Work& w) { return w.microbatch >= num_microbatches; });
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

int in_flight(const Schedule& schedule, int chunk) {
  const auto& order = schedule.order[at(schedule.stage_of_chunk.at(at(chunk)))];
  const bool split =
      std::any_of(order.begin(), order.end(), [](const Work& w) { return w.weights; });
  int now = 0;
  int most = 0;
  for (const Work& w : order) {
    if (w.chunk != chunk) continue;
    if (!w.backward) most = std::max(most, ++now);
    if (w.backward && w.weights == split) --now;
  }
  return most;
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
      text += std::to_string(w.microbatch) + (w.weights ? ".w" : ".") +
              std::to_string(w.backward && !w.weights ? 2 * chunks - 1 - w.chunk : w.chunk);
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
