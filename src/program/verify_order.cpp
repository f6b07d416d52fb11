#include <algorithm>
#include <array>

#include "verify_parts.hpp"

namespace alpa::verification {
namespace {

using Ranges = std::vector<ByteRange>;

struct Footprint {
  Ranges reads, writes;
};

void normalize(Ranges& ranges) {
  std::erase_if(ranges, [](const ByteRange& r) { return r.begin >= r.end; });
  std::sort(ranges.begin(), ranges.end());
  std::size_t kept = 0;
  for (const ByteRange& r : ranges) {
    if (kept > 0 && r.begin <= ranges[kept - 1].end)
      ranges[kept - 1].end = std::max(ranges[kept - 1].end, r.end);
    else
      ranges[kept++] = r;
  }
  ranges.resize(kept);
}

/// Bytes in both, or an empty range. @pre normalized
ByteRange common(const Ranges& a, const Ranges& b) {
  auto i = a.begin();
  auto j = b.begin();
  while (i != a.end() && j != b.end()) {
    const ByteRange both{std::max(i->begin, j->begin), std::min(i->end, j->end)};
    if (both.begin < both.end) return both;
    i->end < j->end ? ++i : ++j;
  }
  return {};
}

/// Bytes that one of them writes and the other touches, or an empty range.
ByteRange conflict(const Footprint& a, const Footprint& b) {
  for (const ByteRange& both :
       {common(a.writes, b.writes), common(a.writes, b.reads), common(a.reads, b.writes)}) {
    if (both.begin < both.end) return both;
  }
  return {};
}

void add(Footprint& footprint, const Program& program, const Instruction& instruction,
         const Call& call) {
  for (const Access& access : accesses(program, instruction, false)) {
    const ByteRange bytes = bytes_in_arena(program, access.region, call);
    (access.kind == Access::Kind::read ? footprint.reads : footprint.writes).push_back(bytes);
  }
}

constexpr std::array<int, kQueues> kNoneEnded{-1, -1, -1, -1};

/// For each instruction, the last of each queue that has surely ended when it starts.
std::vector<std::array<int, kQueues>> ended_before(const Segment& segment) {
  std::vector<std::array<int, kQueues>> ended;
  std::array<int, kQueues> last = kNoneEnded;
  for (std::size_t j = 0; j < segment.instructions.size(); ++j) {
    const Instruction& instruction = segment.instructions[j];
    std::array<int, kQueues> mine = kNoneEnded;
    const auto follow = [&](int i) {
      if (i < 0) return;
      const auto before = static_cast<std::size_t>(i);
      for (std::size_t q = 0; q < kQueues; ++q) mine[q] = std::max(mine[q], ended[before][q]);
      const std::size_t q = queue_of(segment.instructions[before]);
      mine[q] = std::max(mine[q], i);
    };
    follow(last[queue_of(instruction)]);
    for (const int w : instruction.waits) follow(w);
    last[queue_of(instruction)] = static_cast<int>(j);
    ended.push_back(mine);
  }
  return ended;
}

/// Slots move all buffers of a family alike, so one call stands for all.
void check_within(const Program& program, const Segment& segment, const Call& call,
                  Mistakes& mistakes) {
  const auto ended = ended_before(segment);
  std::vector<Footprint> footprints(segment.instructions.size());
  for (std::size_t i = 0; i < footprints.size(); ++i) {
    add(footprints[i], program, segment.instructions[i], call);
    normalize(footprints[i].reads);
    normalize(footprints[i].writes);
  }
  for (std::size_t j = 0; j < footprints.size(); ++j) {
    for (std::size_t i = 0; i < j; ++i) {
      const std::size_t queue = queue_of(segment.instructions[i]);
      if (ended[j][queue] >= static_cast<int>(i)) continue;
      if (queue == queue_of(segment.instructions[j])) continue;
      const ByteRange both = conflict(footprints[i], footprints[j]);
      if (both.begin >= both.end) continue;
      mistakes.add("segment " + segment.name + ": " + name_of(segment, j) + " and " +
                   name_of(segment, i) + " both touch bytes " + text_of(both) +
                   " and nothing orders them; expected the later one to wait for the earlier one");
    }
  }
}

/// Sets of calls, one bit each.
class CallSet {
 public:
  explicit CallSet(std::size_t calls) : words_((calls + 63) / 64, 0) {}
  void insert(std::size_t call) { words_[call / 64] |= std::uint64_t{1} << (call % 64); }
  void insert(const CallSet& others) {
    for (std::size_t w = 0; w < words_.size(); ++w) words_[w] |= others.words_[w];
  }
  [[nodiscard]] bool contains(std::size_t call) const {
    return (words_[call / 64] >> (call % 64) & 1) != 0;
  }

 private:
  std::vector<std::uint64_t> words_;
};

/// The one queue of a call whose instructions share one, or kQueues.
std::size_t only_queue(const Segment& segment) {
  if (segment.instructions.empty()) return kQueues;
  const std::size_t queue = queue_of(segment.instructions.front());
  const bool one =
      std::all_of(segment.instructions.begin(), segment.instructions.end(),
                  [&](const Instruction& instruction) { return queue_of(instruction) == queue; });
  return one ? queue : kQueues;
}

/// For each call, the calls that have surely ended when it starts.
std::vector<CallSet> calls_ended_before(const Program& program) {
  std::vector<CallSet> ended;
  std::array<int, kQueues> last_alone = kNoneEnded;  // of calls that have one queue alone
  for (std::size_t c = 0; c < program.calls.size(); ++c) {
    CallSet mine(program.calls.size());
    const auto follow = [&](int before) {
      if (before < 0) return;
      mine.insert(static_cast<std::size_t>(before));
      mine.insert(ended[static_cast<std::size_t>(before)]);
    };
    for (const int w : program.calls[c].waits) follow(w);
    const std::size_t queue = only_queue(segment_of(program, program.calls[c]));
    if (queue < kQueues) {
      follow(last_alone[queue]);
      last_alone[queue] = static_cast<int>(c);
    }
    ended.push_back(std::move(mine));
  }
  return ended;
}

using ByQueue = std::array<Footprint, kQueues>;

ByteRange conflict_across_queues(const ByQueue& a, const ByQueue& b) {
  for (std::size_t p = 0; p < kQueues; ++p) {
    for (std::size_t q = 0; q < kQueues; ++q) {
      if (p == q) continue;
      const ByteRange both = conflict(a[p], b[q]);
      if (both.begin < both.end) return both;
    }
  }
  return {};
}

void check_between_calls(const Program& program, Mistakes& mistakes) {
  const std::vector<CallSet> ended = calls_ended_before(program);
  std::vector<ByQueue> footprints(program.calls.size());
  for (std::size_t c = 0; c < footprints.size(); ++c) {
    for (const Instruction& i : segment_of(program, program.calls[c]).instructions) {
      add(footprints[c][queue_of(i)], program, i, program.calls[c]);
    }
    for (Footprint& footprint : footprints[c]) {
      normalize(footprint.reads);
      normalize(footprint.writes);
    }
  }
  for (std::size_t b = 0; b < footprints.size(); ++b) {
    for (std::size_t a = 0; a < b; ++a) {
      if (ended[b].contains(a)) continue;
      const ByteRange both = conflict_across_queues(footprints[a], footprints[b]);
      if (both.begin >= both.end) continue;
      mistakes.add(name_of(program, b) + " and " + name_of(program, a) + " both touch bytes " +
                   text_of(both) +
                   " and nothing orders them; expected the later one to wait for the earlier one");
    }
  }
}

}  // namespace

void check_order(const Program& program, Mistakes& mistakes) {
  std::set<int> seen;
  for (const Call& call : program.calls) {
    if (!seen.insert(call.segment).second) continue;
    check_within(program, segment_of(program, call), call, mistakes);
  }
  check_between_calls(program, mistakes);
}

}  // namespace alpa::verification
