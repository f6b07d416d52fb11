#include <algorithm>

#include "program/mutations.hpp"

namespace alpa {

std::vector<Place> places(
    const std::vector<Program>& programs,
    const std::function<bool(const Program&, const Place&, const Instruction&)>& passes) {
  std::vector<Place> found;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    for (std::size_t s = 0; s < programs[r].segments.size(); ++s) {
      const auto& instructions = programs[r].segments[s].instructions;
      for (std::size_t i = 0; i < instructions.size(); ++i) {
        const Place place{r, s, i};
        if (passes(programs[r], place, instructions[i])) found.push_back(place);
      }
    }
  }
  return found;
}

bool is_read_after(const Program& program, BufferId buffer, std::size_t segment,
                   std::size_t instruction) {
  if (buffer == program.step_state) return true;
  for (const StateEntry& entry : program.state) {
    if (entry.buffer == buffer) return true;
  }
  for (std::size_t s = 0; s < program.segments.size(); ++s) {
    const auto& instructions = program.segments[s].instructions;
    for (std::size_t i = s == segment ? instruction + 1 : 0; i < instructions.size(); ++i) {
      const auto regions = reads(instructions[i]);
      if (std::any_of(regions.begin(), regions.end(),
                      [&](const Region& r) { return r.buffer == buffer; })) {
        return true;
      }
    }
  }
  return false;
}

Mutation at_instruction(
    const std::string& name,
    std::function<bool(const Program&, const Place&, const Instruction&)> passes, Change change) {
  return {name, [passes = std::move(passes), change = std::move(change)](
                    std::vector<Program>& programs, std::mt19937_64& random) {
            const auto found = places(programs, passes);
            if (found.empty()) return Outcome::none_here;
            const Place place = pick(found, random);
            change(programs[place.rank], place, random);
            set_waits(programs[place.rank]);
            return Outcome::mutated;
          }};
}

namespace {

/// One run of an instruction.
struct Run {
  std::size_t call = 0, instruction = 0, queue = 0;
  std::vector<ByteRange> reads, writes;
};

bool meet(const std::vector<ByteRange>& a, const std::vector<ByteRange>& b) {
  for (const ByteRange& x : a) {
    for (const ByteRange& y : b) {
      if (std::max(x.begin, y.begin) < std::min(x.end, y.end)) return true;
    }
  }
  return false;
}

std::vector<Run> all_runs(const Program& program) {
  std::vector<Run> runs;
  for (std::size_t c = 0; c < program.calls.size(); ++c) {
    const Call& call = program.calls[c];
    const auto& list = program.segments[static_cast<std::size_t>(call.segment)].instructions;
    for (std::size_t i = 0; i < list.size(); ++i) {
      Run run{c, i, queue_of(list[i]), {}, {}};
      for (const Region& r : reads(list[i])) run.reads.push_back(bytes_in_arena(program, r, call));
      for (const Region& r : writes(list[i])) {
        run.writes.push_back(bytes_in_arena(program, r, call));
      }
      const auto* kernel = std::get_if<RunKernel>(&list[i].action);
      if (kernel != nullptr && kernel->workspace.valid()) {
        const Region all{kernel->workspace, {}, program.buffer(kernel->workspace).size};
        run.writes.push_back(bytes_in_arena(program, all, call));
      }
      runs.push_back(std::move(run));
    }
  }
  return runs;
}

}  // namespace

bool has_race(const Program& program) {
  const std::vector<Run> runs = all_runs(program);
  std::vector<std::size_t> first_run;  // of each call
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (runs[r].instruction == 0) first_run.push_back(r);
  }
  first_run.push_back(runs.size());
  using Set = std::vector<std::uint64_t>;
  std::vector<Set> before(runs.size(), Set((runs.size() + 63) / 64, 0));
  std::vector<std::size_t> last(kQueues, runs.size());
  for (std::size_t b = 0; b < runs.size(); ++b) {
    const auto follow = [&](std::size_t a) {
      for (std::size_t w = 0; w < before[b].size(); ++w) before[b][w] |= before[a][w];
      before[b][a / 64] |= std::uint64_t{1} << (a % 64);
    };
    const Call& call = program.calls[runs[b].call];
    const auto& list = program.segments[static_cast<std::size_t>(call.segment)].instructions;
    for (const int w : list[runs[b].instruction].waits) {
      follow(first_run[runs[b].call] + static_cast<std::size_t>(w));
    }
    for (const int c : call.waits) {
      const auto waited = static_cast<std::size_t>(c);
      for (std::size_t a = first_run[waited]; a < first_run[waited + 1]; ++a) follow(a);
    }
    if (last[runs[b].queue] < runs.size()) follow(last[runs[b].queue]);
    last[runs[b].queue] = b;
    for (std::size_t a = 0; a < b; ++a) {
      if ((before[b][a / 64] >> (a % 64) & 1) != 0) continue;
      if (meet(runs[a].writes, runs[b].writes) || meet(runs[a].writes, runs[b].reads) ||
          meet(runs[a].reads, runs[b].writes)) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace alpa
