#include <algorithm>
#include <array>
#include <utility>
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
    std::vector<bool> settled(kQueues, false);
    settled[queue_of(later)] = true;
    for (std::size_t i = j; i-- > 0;) {
      const std::size_t queue = queue_of(segment.instructions[i]);
      if (settled[queue] || !conflict(footprints[i], footprints[j])) continue;
      later.waits.push_back(static_cast<int>(i));
      settled[queue] = true;
      if (std::find(settled.begin(), settled.end(), false) == settled.end()) break;
    }
    std::sort(later.waits.begin(), later.waits.end());
  }
}

/// Bytes of a region over all its slots.
ByteRange extent(const Program& program, const Region& region) {
  const Buffer& buffer = program.buffer(region.buffer);
  const std::int64_t begin = buffer.offset.value + region.start.value;
  const int slots =
      buffer.family < 0 ? 1 : program.family_slots.at(static_cast<std::size_t>(buffer.family));
  return {begin, begin + region.size.value + buffer.stride.value * std::max(0, slots - 1)};
}

/// What the calls of a segment touch.
struct SegmentRegions {
  std::vector<Region> reads, writes;
};

SegmentRegions regions_of(const Program& program, const Segment& segment) {
  SegmentRegions regions;
  for (const Instruction& i : segment.instructions) {
    for (const Region& r : reads(i)) regions.reads.push_back(r);
    for (const Region& r : writes(i)) regions.writes.push_back(r);
    const auto* run = std::get_if<RunKernel>(&i.action);
    if (run != nullptr && run->workspace.valid()) {
      regions.writes.push_back({run->workspace, {}, program.buffer(run->workspace).size});
    }
  }
  return regions;
}

/// Calls that run in order among themselves: those that compute, and exchanges each way.
constexpr std::size_t kCompute = 0;
constexpr std::size_t kExchange = 1;
constexpr std::size_t kExchangeBack = 2;
constexpr std::size_t kLanes = 3;

/// Which calls may not run at once, of exchanges and computing calls. Only bytes that some exchange
/// touches matter, in some slot: of computing segments little is left, however many microbatches
/// there are.
class Conflicts {
 public:
  explicit Conflicts(const Program& program) : program_(program) {
    std::vector<ByteRange> sent;
    for (const Segment& segment : program.segments) {
      segments_.push_back(regions_of(program, segment));
      lane_.push_back(lane_of(segment));
      if (lane_.back() == kCompute) continue;
      for (const auto* list : {&segments_.back().reads, &segments_.back().writes}) {
        for (const Region& r : *list) sent.push_back(extent(program, r));
      }
    }
    sort_and_join(sent);
    for (std::size_t s = 0; s < segments_.size(); ++s) {
      if (lane_[s] != kCompute) continue;
      for (auto* list : {&segments_[s].reads, &segments_[s].writes}) {
        std::erase_if(*list, [&](const Region& r) { return !meet({extent(program, r)}, sent); });
      }
    }
  }

  [[nodiscard]] std::size_t lane(const Call& call) const {
    return lane_[static_cast<std::size_t>(call.segment)];
  }

  [[nodiscard]] Footprint footprint(const Call& call) const {
    const SegmentRegions& regions = segments_[static_cast<std::size_t>(call.segment)];
    Footprint footprint;
    for (const Region& r : regions.reads) {
      footprint.reads.push_back(bytes_in_arena(program_, r, call));
    }
    for (const Region& r : regions.writes) {
      footprint.writes.push_back(bytes_in_arena(program_, r, call));
    }
    sort_and_join(footprint.reads);
    sort_and_join(footprint.writes);
    return footprint;
  }

 private:
  static std::size_t lane_of(const Segment& segment) {
    const bool exchanges = std::all_of(
        segment.instructions.begin(), segment.instructions.end(),
        [](const Instruction& i) { return std::holds_alternative<Exchange>(i.action); });
    if (!exchanges || segment.instructions.empty()) return kCompute;
    return queue_of(segment.instructions.front()) == kMessagesBack ? kExchangeBack : kExchange;
  }

  const Program& program_;
  std::vector<SegmentRegions> segments_;
  std::vector<std::size_t> lane_;  ///< [segment]
};

}  // namespace

void set_waits(Program& program) {
  for (Segment& segment : program.segments) set_waits_within(program, segment);
  const Conflicts conflicts(program);
  std::array<std::vector<std::pair<int, Footprint>>, kLanes> lanes;
  for (std::size_t c = 0; c < program.calls.size(); ++c) {
    Call& call = program.calls[c];
    Footprint mine = conflicts.footprint(call);
    const std::size_t lane = conflicts.lane(call);
    call.waits.clear();
    if (lane == kCompute && !lanes[lane].empty()) call.waits.push_back(lanes[lane].back().first);
    for (std::size_t other = 0; other < kLanes; ++other) {
      if (other == lane) continue;  // in order: the last conflict is enough
      const auto last =
          std::find_if(lanes[other].rbegin(), lanes[other].rend(),
                       [&](const auto& earlier) { return conflict(earlier.second, mine); });
      if (last != lanes[other].rend()) call.waits.push_back(last->first);
    }
    std::sort(call.waits.begin(), call.waits.end());
    lanes[lane].emplace_back(static_cast<int>(c), std::move(mine));
  }
}

}  // namespace alpa
