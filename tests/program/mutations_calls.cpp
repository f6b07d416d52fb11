#include <algorithm>
#include <set>

#include "program/mutations.hpp"

namespace alpa {
namespace {

const Segment& segment_of(const Program& program, const Call& call) {
  return program.segments[static_cast<std::size_t>(call.segment)];
}

/// Families that a call's instructions touch.
std::vector<std::size_t> families_of(const Program& program, const Call& call) {
  std::set<std::size_t> found;
  for (const Instruction& instruction : segment_of(program, call).instructions) {
    for (const auto& regions : {reads(instruction), writes(instruction)}) {
      for (const Region& r : regions) {
        const int family = program.buffer(r.buffer).family;
        if (family >= 0) found.insert(static_cast<std::size_t>(family));
      }
    }
  }
  return {found.begin(), found.end()};
}

bool is_sum(const Instruction& instruction) {
  const auto* run = std::get_if<RunKernel>(&instruction.action);
  return run != nullptr && (std::holds_alternative<Accumulate>(run->kernel) ||
                            std::holds_alternative<Contribute>(run->kernel));
}

/// True if the second call reads a value that the first made and that is not its own scratch.
bool feeds(const Program& program, const Call& first, const Call& second) {
  for (const Instruction& a : segment_of(program, first).instructions) {
    if (is_sum(a)) continue;
    for (const Region& w : writes(a)) {
      const Buffer& buffer = program.buffer(w.buffer);
      if (buffer.memory_class == MemoryClass::transient) continue;
      const ByteRange written = bytes_in_arena(program, w, first);
      for (const Instruction& b : segment_of(program, second).instructions) {
        for (const Region& r : reads(b)) {
          const ByteRange read = bytes_in_arena(program, r, second);
          if (r.buffer == w.buffer &&
              std::max(read.begin, written.begin) < std::min(read.end, written.end)) {
            return true;
          }
        }
      }
    }
  }
  return false;
}

using Passes = std::function<bool(const Program&, std::size_t)>;
using ChangeCall = std::function<void(Program&, std::size_t, std::mt19937_64&)>;

Mutation at_call(const std::string& name, Passes passes, ChangeCall change) {
  return {name, [passes = std::move(passes), change = std::move(change)](
                    std::vector<Program>& programs, std::mt19937_64& random) {
            std::vector<std::pair<std::size_t, std::size_t>> found;
            for (std::size_t r = 0; r < programs.size(); ++r) {
              for (std::size_t c = 0; c < programs[r].calls.size(); ++c) {
                if (passes(programs[r], c)) found.emplace_back(r, c);
              }
            }
            if (found.empty()) return Outcome::none_here;
            const auto [rank, call] = pick(found, random);
            change(programs[rank], call, random);
            set_waits(programs[rank]);
            return Outcome::mutated;
          }};
}

bool any_call(const Program&, std::size_t) { return true; }

/// Families of the call with more than one of what is to be changed.
std::vector<std::size_t> families_with_choice(const Program& p, std::size_t call, bool slots) {
  auto families = families_of(p, p.calls[call]);
  std::erase_if(families, [&](std::size_t f) {
    return (slots ? p.family_slots[f] : p.num_microbatches) < 2;
  });
  return families;
}

Mutation wrong_entry(const std::string& name, bool slots) {
  return at_call(
      name,
      [slots](const Program& p, std::size_t c) {
        return !families_with_choice(p, c, slots).empty();
      },
      [slots](Program& p, std::size_t c, std::mt19937_64& random) {
        const std::size_t f = pick(families_with_choice(p, c, slots), random);
        int& entry = slots ? p.calls[c].slots[f] : p.calls[c].slot_microbatch[f];
        const int count = slots ? p.family_slots[f] : p.num_microbatches;
        entry = (entry + 1 + static_cast<int>(random() % static_cast<std::uint64_t>(count - 1))) %
                count;
      });
}

/// Drops one wait somewhere; harmless if others imply it.
Outcome drop_wait(std::vector<Program>& programs, std::mt19937_64& random, bool of_calls) {
  std::vector<std::pair<std::size_t, std::vector<int>*>> found;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    if (of_calls) {
      for (Call& call : programs[r].calls) {
        if (!call.waits.empty()) found.emplace_back(r, &call.waits);
      }
      continue;
    }
    for (Segment& segment : programs[r].segments) {
      for (Instruction& instruction : segment.instructions) {
        if (!instruction.waits.empty()) found.emplace_back(r, &instruction.waits);
      }
    }
  }
  if (found.empty()) return Outcome::none_here;
  const auto [rank, waits] = pick(found, random);
  waits->erase(waits->begin() + static_cast<std::ptrdiff_t>(random() % waits->size()));
  return has_race(programs[rank]) ? Outcome::mutated : Outcome::harmless;
}

}  // namespace

std::vector<Mutation> call_mutations() {
  std::vector<Mutation> all;
  all.push_back(at_call("call dropped", any_call, [](Program& p, std::size_t c, std::mt19937_64&) {
    p.calls.erase(p.calls.begin() + static_cast<std::ptrdiff_t>(c));
  }));
  all.push_back(at_call("call repeated", any_call, [](Program& p, std::size_t c, std::mt19937_64&) {
    const Call copy = p.calls[c];
    p.calls.insert(p.calls.begin() + static_cast<std::ptrdiff_t>(c), copy);
  }));
  all.push_back(at_call(
      "calls swapped",
      [](const Program& p, std::size_t c) {
        return c + 1 < p.calls.size() && feeds(p, p.calls[c], p.calls[c + 1]);
      },
      [](Program& p, std::size_t c, std::mt19937_64&) { std::swap(p.calls[c], p.calls[c + 1]); }));
  all.push_back(at_call(
      "call of another microbatch",
      [](const Program& p, std::size_t c) {
        return p.num_microbatches > 1 && !std::holds_alternative<Exchange>(
                                             segment_of(p, p.calls[c]).instructions.front().action);
      },
      [](Program& p, std::size_t c, std::mt19937_64&) {
        p.calls[c].microbatch = (p.calls[c].microbatch + 1) % p.num_microbatches;
      }));
  all.push_back(wrong_entry("wrong slot", true));
  all.push_back(wrong_entry("wrong microbatch in a slot", false));
  return all;
}

std::vector<Mutation> wait_mutations() {
  return {{"wait of an instruction dropped",
           [](auto& programs, auto& random) { return drop_wait(programs, random, false); }},
          {"wait of a call dropped",
           [](auto& programs, auto& random) { return drop_wait(programs, random, true); }}};
}

}  // namespace alpa
