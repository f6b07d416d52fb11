#include "alpa/program/verify.hpp"

#include <algorithm>

#include "alpa/graph/aliasing.hpp"

#include "verify_parts.hpp"

namespace alpa {
namespace verification {

std::string name_of(const Segment& segment, std::size_t instruction) {
  return "instruction " + std::to_string(instruction) + " (" +
         segment.instructions[instruction].name + ")";
}

std::string name_of(const Program& program, std::size_t call) {
  const Call& c = program.calls[call];
  return "call " + std::to_string(call) + " (" + segment_of(program, c).name + ", microbatch " +
         std::to_string(c.microbatch) + ")";
}

std::string text_of(ByteRange range) {
  return "[" + std::to_string(range.begin) + ":" + std::to_string(range.end) + ")";
}

int rank_in(const std::vector<int>& group, int world_rank) {
  const auto it = std::find(group.begin(), group.end(), world_rank);
  return it == group.end() ? -1 : static_cast<int>(it - group.begin());
}

namespace {

using Kind = Access::Kind;

Region region_of(const Operand& o) { return {o.buffer, o.start, o.size(), o.version}; }

std::vector<Access> accesses_of(const Program& program, const RunKernel& run, bool first) {
  std::vector<Access> all;
  for (const Operand& o : run.operands) all.push_back({Kind::read, region_of(o)});
  for (std::size_t r = 0; r < run.results.size(); ++r) {
    const Operand& o = run.results[r];
    Kind kind = changes_in_place(run.kernel, r) ? Kind::change : Kind::make;
    if (std::holds_alternative<Contribute>(run.kernel)) kind = Kind::add;
    if (std::holds_alternative<Accumulate>(run.kernel)) kind = first ? Kind::make : Kind::add;
    Access access{kind, region_of(o)};
    if (std::holds_alternative<CopyBox>(run.kernel)) {
      access.from = &run.operands.front();
      access.to = &o;
    }
    if (std::holds_alternative<Accumulate>(run.kernel)) access.region.version = 1;
    all.push_back(access);
  }
  if (run.workspace.valid()) {
    all.push_back({Kind::scribble, {run.workspace, {}, program.buffer(run.workspace).size}});
  }
  return all;
}

std::vector<Access> accesses_of(const Collective& c) {
  if (c.kind == Collective::Kind::all_reduce) return {{Kind::change, c.out}};
  return {{Kind::read, c.in}, {Kind::make, c.out}};
}

std::vector<Access> accesses_of(const Exchange& e) {
  std::vector<Access> all;
  for (const Message& m : e.out) all.push_back({Kind::read, m.region});
  for (const Message& m : e.in) all.push_back({Kind::make, m.region});
  return all;
}

}  // namespace

std::vector<Access> accesses(const Program& program, const Instruction& instruction, bool first) {
  if (const auto* run = std::get_if<RunKernel>(&instruction.action)) {
    return accesses_of(program, *run, first);
  }
  if (const auto* c = std::get_if<Collective>(&instruction.action)) return accesses_of(*c);
  return accesses_of(std::get<Exchange>(instruction.action));
}

}  // namespace verification

namespace {

using verification::Mistakes;

/// True if the structure is sound; only then are the rest checked.
bool check_alone(const Program& program, Mistakes& mistakes) {
  verification::check_structure(program, mistakes);
  if (!mistakes.none()) return false;
  verification::check_order(program, mistakes);
  verification::check_values(program, mistakes);
  return true;
}

}  // namespace

std::vector<std::string> verify(const Program& program) {
  Mistakes mistakes("rank " + std::to_string(program.rank) + ": ");
  check_alone(program, mistakes);
  return mistakes.take();
}

std::vector<std::string> verify(const std::vector<Program>& programs) {
  std::vector<std::string> all;
  bool sound = true;
  for (std::size_t r = 0; r < programs.size(); ++r) {
    const Program& program = programs[r];
    Mistakes mistakes("rank " + std::to_string(r) + ": ");
    if (program.rank != static_cast<int>(r) ||
        program.world_size != static_cast<int>(programs.size())) {
      mistakes.add("its program is for rank " + std::to_string(program.rank) + " of " +
                   std::to_string(program.world_size) + ", expected rank " + std::to_string(r) +
                   " of " + std::to_string(programs.size()));
    }
    sound = check_alone(program, mistakes) && sound;
    for (std::string& text : mistakes.take()) all.push_back(std::move(text));
  }
  if (!sound) return all;
  Mistakes together("");
  verification::check_together(programs, together);
  for (std::string& text : together.take()) all.push_back(std::move(text));
  return all;
}

}  // namespace alpa
