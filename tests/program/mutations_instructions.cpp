#include <algorithm>

#include "program/mutations.hpp"

namespace alpa {
namespace {

bool is_sum(const RunKernel& run) { return std::holds_alternative<Accumulate>(run.kernel); }

bool changes_in_place(const Program& program, const RunKernel& run) {
  return std::holds_alternative<Update>(run.kernel) ||
         std::holds_alternative<Contribute>(run.kernel) ||
         (is_sum(run) && program.num_microbatches > 1);
}

bool result_is_read(const Program& program, const Place& place, const Instruction& instruction) {
  const auto regions = writes(instruction);
  return std::any_of(regions.begin(), regions.end(), [&](const Region& r) {
    return is_read_after(program, r.buffer, place.segment, place.instruction);
  });
}

const RunKernel* kernel(const Instruction& instruction) {
  return std::get_if<RunKernel>(&instruction.action);
}

bool is_transfer(const Program&, const Place&, const Instruction& instruction) {
  return std::holds_alternative<Exchange>(instruction.action);
}

bool is_collective(const Program&, const Place&, const Instruction& instruction) {
  return std::holds_alternative<Collective>(instruction.action);
}

std::vector<Instruction>& list(Program& program, const Place& place) {
  return program.segments[place.segment].instructions;
}

void drop(Program& program, const Place& place, std::mt19937_64&) {
  auto& instructions = list(program, place);
  instructions.erase(instructions.begin() + static_cast<std::ptrdiff_t>(place.instruction));
}

void repeat(Program& program, const Place& place, std::mt19937_64&) {
  auto& instructions = list(program, place);
  const Instruction copy = instructions[place.instruction];
  instructions.insert(instructions.begin() + static_cast<std::ptrdiff_t>(place.instruction), copy);
}

/// True if one instruction of all writes this buffer.
bool has_one_writer(const Program& program, BufferId buffer) {
  int writers = 0;
  for (const Segment& segment : program.segments) {
    for (const Instruction& instruction : segment.instructions) {
      for (const Region& r : writes(instruction)) writers += r.buffer == buffer ? 1 : 0;
    }
  }
  return writers == 1;
}

/// The first instruction of the segment that reads what `place` alone writes, or 0.
std::size_t first_reader(const Program& program, const Place& place) {
  const auto& instructions = program.segments[place.segment].instructions;
  for (const Region& w : writes(instructions[place.instruction])) {
    if (!has_one_writer(program, w.buffer) || w.buffer == program.step_state) continue;
    for (std::size_t i = place.instruction + 1; i < instructions.size(); ++i) {
      for (const Region& r : reads(instructions[i])) {
        if (r.buffer == w.buffer) return i;
      }
    }
  }
  return 0;
}

bool makes_something(const Program& program, const Place& place, const Instruction& instruction) {
  const RunKernel* run = kernel(instruction);
  const bool sums = run != nullptr && (is_sum(*run) || changes_in_place(program, *run));
  return !sums && first_reader(program, place) > 0;
}

/// An operand that is no scalar of the step state, which are all alike.
std::vector<Operand*> tensors(Program& program, RunKernel& run) {
  std::vector<Operand*> found;
  for (auto* list : {&run.operands, &run.results}) {
    for (Operand& o : *list) {
      if (o.buffer != program.step_state && o.size().value > 0) found.push_back(&o);
    }
  }
  return found;
}

/// True if something else sees the piece that this operand is.
bool is_seen_elsewhere(const Program& program, const Operand& piece) {
  int views = 0;
  const auto look = [&](BufferId buffer, Bytes start) {
    views += buffer == piece.buffer && start == piece.start ? 1 : 0;
  };
  for (const StateEntry& e : program.state) look(e.buffer, {});
  for (const InputEntry& e : program.inputs) look(e.buffer, {});
  for (const Segment& segment : program.segments) {
    for (const Instruction& instruction : segment.instructions) {
      const RunKernel* run = kernel(instruction);
      if (run == nullptr) continue;
      for (const Operand& o : run->operands) look(o.buffer, o.start);
      for (const Operand& o : run->results) look(o.buffer, o.start);
    }
  }
  return views > 1;
}

/// A change of one operand or result of a kernel that `passes`.
Mutation at_operand(const std::string& name,
                    std::function<bool(const Program&, const Operand&)> passes,
                    std::function<void(Operand&)> change) {
  return {name, [passes = std::move(passes), change = std::move(change)](
                    std::vector<Program>& programs, std::mt19937_64& random) {
            std::vector<std::pair<std::size_t, Operand*>> found;
            for (std::size_t r = 0; r < programs.size(); ++r) {
              for (Segment& segment : programs[r].segments) {
                for (Instruction& instruction : segment.instructions) {
                  auto* run = std::get_if<RunKernel>(&instruction.action);
                  if (run == nullptr) continue;
                  for (Operand* o : tensors(programs[r], *run)) {
                    if (passes(programs[r], *o)) found.emplace_back(r, o);
                  }
                }
              }
            }
            if (found.empty()) return Outcome::none_here;
            const auto [rank, operand] = pick(found, random);
            change(*operand);
            set_waits(programs[rank]);
            return Outcome::mutated;
          }};
}

std::vector<Mutation> operand_mutations() {
  std::vector<Mutation> all;
  all.push_back(at_operand(
      "operand of another dtype",
      [](const Program& p, const Operand& o) { return is_seen_elsewhere(p, o); },
      [](Operand& o) { o.dtype = o.dtype == DType::f32 ? DType::f64 : DType::f32; }));
  all.push_back(at_operand(
      "operand shifted in its buffer",
      [](const Program& p, const Operand& o) {
        return o.start.value == 0 && is_seen_elsewhere(p, o);
      },
      [](Operand& o) { o.start += {size_of(o.dtype)}; }));
  all.push_back(at_operand(
      "operand of another box",
      [](const Program& p, const Operand& o) {
        return !o.full.empty() && o.box.extent[0] < o.full[0] && is_seen_elsewhere(p, o);
      },
      [](Operand& o) { o.box.offset[0] += o.box.offset[0] == 0 ? 1 : -1; }));
  all.push_back(at_operand(
      "operand outside its tensor",
      [](const Program&, const Operand& o) { return !o.full.empty(); },
      [](Operand& o) { o.box.offset[0] = o.full[0]; }));
  return all;
}

}  // namespace

std::vector<Mutation> instruction_mutations() {
  std::vector<Mutation> all = operand_mutations();
  all.push_back(at_instruction(
      "kernel dropped",
      [](const Program& p, const Place& place, const Instruction& i) {
        return kernel(i) != nullptr && result_is_read(p, place, i);
      },
      drop));
  all.push_back(at_instruction("collective dropped", is_collective, drop));
  all.push_back(at_instruction("exchange dropped", is_transfer, drop));
  all.push_back(at_instruction(
      "change in place repeated",
      [](const Program& p, const Place&, const Instruction& i) {
        return kernel(i) != nullptr && changes_in_place(p, *kernel(i));
      },
      repeat));
  all.push_back(at_instruction("collective repeated", is_collective, repeat));
  all.push_back(at_instruction("exchange repeated", is_transfer, repeat));
  all.push_back(at_instruction("value read before it is made", makes_something,
                               [](Program& p, const Place& place, std::mt19937_64&) {
                                 std::swap(list(p, place)[place.instruction],
                                           list(p, place)[first_reader(p, place)]);
                               }));
  all.push_back(at_instruction(
      "wrong version read",
      [](const Program&, const Place&, const Instruction& i) {
        return kernel(i) != nullptr && !kernel(i)->operands.empty();
      },
      [](Program& p, const Place& place, std::mt19937_64& random) {
        auto& operands = std::get<RunKernel>(list(p, place)[place.instruction].action).operands;
        operands[random() % operands.size()].version += random() % 2 == 0 ? 1 : -1;
      }));
  all.push_back(at_instruction(
      "first sum adds",
      [](const Program&, const Place&, const Instruction& i) {
        return kernel(i) != nullptr && kernel(i)->first;
      },
      [](Program& p, const Place& place, std::mt19937_64&) {
        std::get<RunKernel>(list(p, place)[place.instruction].action).first = false;
      }));
  return all;
}

}  // namespace alpa
