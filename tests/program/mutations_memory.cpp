#include <algorithm>
#include <map>
#include <optional>

#include "program/mutations.hpp"

namespace alpa {
namespace {

/// Where a buffer is written and read within one segment.
struct Uses {
  std::vector<std::size_t> writes;
  std::vector<std::size_t> whole_reads;
};

std::map<BufferId, Uses> uses_in(const Program& program, const Segment& segment) {
  std::map<BufferId, Uses> uses;
  for (std::size_t i = 0; i < segment.instructions.size(); ++i) {
    const Instruction& instruction = segment.instructions[i];
    for (const Region& r : writes(instruction)) uses[r.buffer].writes.push_back(i);
    for (const Region& r : reads(instruction)) {
      if (r.size == program.buffer(r.buffer).size) uses[r.buffer].whole_reads.push_back(i);
    }
    const auto* run = std::get_if<RunKernel>(&instruction.action);
    if (run != nullptr && run->workspace.valid()) uses[run->workspace].writes.push_back(i);
  }
  return uses;
}

using Pair = std::pair<std::size_t, std::pair<BufferId, BufferId>>;  ///< rank; kept, moved

Outcome move_onto(std::vector<Program>& programs, const std::vector<Pair>& pairs,
                  std::mt19937_64& random) {
  if (pairs.empty()) return Outcome::none_here;
  const auto& [rank, buffers] = pick(pairs, random);
  auto& all = programs[rank].buffers;
  all[buffers.second.index()].offset = all[buffers.first.index()].offset;
  set_waits(programs[rank]);
  return Outcome::mutated;
}

/// Buffers of one segment: the second is written between the only write and the last whole read of
/// the first, and lies in its bytes then.
Outcome overlap_transients(std::vector<Program>& programs, std::mt19937_64& random) {
  std::vector<Pair> pairs;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    const Program& p = programs[r];
    const auto is_transient = [&](BufferId id) {
      return p.buffer(id).memory_class == MemoryClass::transient && p.buffer(id).size.value > 0;
    };
    for (const Segment& segment : p.segments) {
      const auto uses = uses_in(p, segment);
      for (const auto& [a, of_a] : uses) {
        if (!is_transient(a) || of_a.writes.size() != 1 || of_a.whole_reads.empty()) continue;
        for (const auto& [b, of_b] : uses) {
          if (a == b || !is_transient(b) || p.buffer(b).size > p.buffer(a).size) continue;
          const bool between = std::any_of(
              of_b.writes.begin(), of_b.writes.end(),
              [&](std::size_t w) { return w > of_a.writes[0] && w <= of_a.whole_reads.back(); });
          if (between) pairs.push_back({r, {a, b}});
        }
      }
    }
  }
  return move_onto(programs, pairs, random);
}

/// Two values that forward makes and backward reads, in the slots of one family.
Outcome overlap_stash(std::vector<Program>& programs, std::mt19937_64& random) {
  std::vector<Pair> pairs;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    const Program& p = programs[r];
    std::vector<std::map<BufferId, Uses>> uses;
    for (const Segment& segment : p.segments) uses.push_back(uses_in(p, segment));
    const auto read_elsewhere = [&](BufferId id, std::size_t segment) {
      for (std::size_t s = 0; s < uses.size(); ++s) {
        const auto it = uses[s].find(id);
        if (s != segment && it != uses[s].end() && !it->second.whole_reads.empty()) return true;
      }
      return false;
    };
    for (std::size_t s = 0; s < uses.size(); ++s) {
      std::vector<BufferId> kept;
      for (const auto& [id, use] : uses[s]) {
        if (p.buffer(id).family >= 0 && use.writes.size() == 1 && read_elsewhere(id, s)) {
          kept.push_back(id);
        }
      }
      for (const BufferId a : kept) {
        for (const BufferId b : kept) {
          const bool alike =
              p.buffer(a).family == p.buffer(b).family && p.buffer(a).stride == p.buffer(b).stride;
          if (a != b && alike && p.buffer(b).size == p.buffer(a).size) {
            pairs.push_back({r, {a, b}});
          }
        }
      }
    }
  }
  return move_onto(programs, pairs, random);
}

Outcome overlap_state(std::vector<Program>& programs, std::mt19937_64& random) {
  std::vector<Pair> pairs;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    for (const StateEntry& a : programs[r].state) {
      for (const StateEntry& b : programs[r].state) {
        if (a.buffer != b.buffer) pairs.push_back({r, {a.buffer, b.buffer}});
      }
    }
  }
  return move_onto(programs, pairs, random);
}

/// Buffers that some region fills to the last byte.
std::vector<std::pair<std::size_t, BufferId>> full_buffers(const std::vector<Program>& programs) {
  std::vector<std::pair<std::size_t, BufferId>> found;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    std::map<BufferId, bool> full;
    for (const Segment& segment : programs[r].segments) {
      for (const Instruction& instruction : segment.instructions) {
        for (const auto& regions : {reads(instruction), writes(instruction)}) {
          for (const Region& region : regions) {
            if (region.start + region.size == programs[r].buffer(region.buffer).size &&
                region.size.value > 0) {
              full[region.buffer] = true;
            }
          }
        }
      }
    }
    for (const auto& [id, is_full] : full) found.emplace_back(r, id);
  }
  return found;
}

Outcome shrink_buffer(std::vector<Program>& programs, std::mt19937_64& random) {
  const auto found = full_buffers(programs);
  if (found.empty()) return Outcome::none_here;
  const auto [rank, id] = pick(found, random);
  programs[rank].buffers[id.index()].size -= {1};
  return Outcome::mutated;
}

Outcome shrink_arena(std::vector<Program>& programs, std::mt19937_64& random) {
  const auto found = full_buffers(programs);
  if (found.empty()) return Outcome::none_here;
  const auto [rank, id] = pick(found, random);
  Program& p = programs[rank];
  const Buffer& b = p.buffer(id);
  const int slots = b.family < 0 ? 1 : p.family_slots[static_cast<std::size_t>(b.family)];
  p.arena = b.offset + b.stride * (slots - 1) + b.size - Bytes{1};
  return Outcome::mutated;
}

/// Slots that overlap.
Outcome shrink_stride(std::vector<Program>& programs, std::mt19937_64& random) {
  auto found = full_buffers(programs);
  std::erase_if(found, [&](const auto& entry) {
    const Buffer& b = programs[entry.first].buffer(entry.second);
    return b.family < 0 ||
           programs[entry.first].family_slots[static_cast<std::size_t>(b.family)] < 2;
  });
  if (found.empty()) return Outcome::none_here;
  const auto [rank, id] = pick(found, random);
  Buffer& b = programs[rank].buffers[id.index()];
  b.stride = b.size - Bytes{8};
  return Outcome::mutated;
}

}  // namespace

std::vector<Mutation> memory_mutations() {
  return {{"transient buffers overlap", overlap_transients},
          {"stashes overlap", overlap_stash},
          {"state overlaps", overlap_state},
          {"buffer shrunk", shrink_buffer},
          {"arena shrunk", shrink_arena},
          {"slots overlap", shrink_stride}};
}

}  // namespace alpa
