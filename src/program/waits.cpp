#include <algorithm>
#include <vector>

#include "alpa/program/program.hpp"

namespace alpa {
namespace {

/// Bytes that something touches: what it reads, what it writes, and its scratch.
struct Footprint {
  std::vector<ByteRange> reads, writes;
};

void sort_and_join(std::vector<ByteRange>& ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<ByteRange> joined;
  for (const ByteRange& r : ranges) {
    if (!joined.empty() && r.begin <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, r.end);
    } else {
      joined.push_back(r);
    }
  }
  ranges = std::move(joined);
}

bool meet(const std::vector<ByteRange>& a, const std::vector<ByteRange>& b) {
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i].end <= b[j].begin)
      ++i;
    else if (b[j].end <= a[i].begin)
      ++j;
    else
      return true;
  }
  return false;
}

bool conflict(const Footprint& a, const Footprint& b) {
  return meet(a.writes, b.writes) || meet(a.writes, b.reads) || meet(a.reads, b.writes);
}

void add(Footprint& footprint, const Program& program, const Instruction& instruction,
         const Call& call) {
  for (const Region& r : reads(instruction)) {
    footprint.reads.push_back(bytes_in_arena(program, r, call));
  }
  for (const Region& r : writes(instruction)) {
    footprint.writes.push_back(bytes_in_arena(program, r, call));
  }
  const auto* run = std::get_if<RunKernel>(&instruction.action);
  if (run != nullptr && run->workspace.valid()) {
    const Region scratch{run->workspace, {}, program.buffer(run->workspace).size};
    footprint.writes.push_back(bytes_in_arena(program, scratch, call));
  }
}

void set_waits_within(const Program& program, Segment& segment) {
  Call any;
  any.slots.assign(program.family_slots.size(), 0);
  std::vector<Footprint> footprints(segment.instructions.size());
  for (std::size_t i = 0; i < footprints.size(); ++i) {
    add(footprints[i], program, segment.instructions[i], any);
    sort_and_join(footprints[i].reads);
    sort_and_join(footprints[i].writes);
  }
  for (std::size_t j = 0; j < footprints.size(); ++j) {
    Instruction& later = segment.instructions[j];
    later.waits.clear();
    // Queues run in order, so the last conflict on each other queue is enough.
    std::vector<bool> settled(3, false);
    settled[later.action.index()] = true;
    for (std::size_t i = j; i-- > 0;) {
      const std::size_t queue = segment.instructions[i].action.index();
      if (settled[queue] || !conflict(footprints[i], footprints[j])) continue;
      later.waits.push_back(static_cast<int>(i));
      settled[queue] = true;
      if (settled[0] && settled[1] && settled[2]) break;
    }
    std::sort(later.waits.begin(), later.waits.end());
  }
}

bool is_exchange(const Program& program, const Call& call) {
  const auto& instructions = program.segments[static_cast<std::size_t>(call.segment)].instructions;
  return std::all_of(instructions.begin(), instructions.end(), [](const Instruction& i) {
    return std::holds_alternative<Exchange>(i.action);
  });
}

}  // namespace

void set_waits(Program& program) {
  for (Segment& segment : program.segments) set_waits_within(program, segment);
  std::vector<Footprint> footprints(program.calls.size());
  std::vector<bool> exchange(program.calls.size());
  int last_compute = -1;
  std::vector<int> exchanges, computes;
  for (std::size_t c = 0; c < program.calls.size(); ++c) {
    Call& call = program.calls[c];
    for (const Instruction& i :
         program.segments[static_cast<std::size_t>(call.segment)].instructions) {
      add(footprints[c], program, i, call);
    }
    sort_and_join(footprints[c].reads);
    sort_and_join(footprints[c].writes);
    exchange[c] = is_exchange(program, call);
    call.waits.clear();
    if (!exchange[c] && last_compute >= 0) call.waits.push_back(last_compute);
    // Exchanges run in order among themselves, computing calls too: the last conflict is enough.
    const auto& others = exchange[c] ? computes : exchanges;
    for (std::size_t k = others.size(); k-- > 0;) {
      if (!conflict(footprints[static_cast<std::size_t>(others[k])], footprints[c])) continue;
      call.waits.push_back(others[k]);
      break;
    }
    std::sort(call.waits.begin(), call.waits.end());
    if (exchange[c]) {
      exchanges.push_back(static_cast<int>(c));
    } else {
      computes.push_back(static_cast<int>(c));
      last_compute = static_cast<int>(c);
    }
  }
}

}  // namespace alpa
