#include "alpa/program/program.hpp"

#include <algorithm>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/base/overloaded.hpp"
#include "alpa/graph/aliasing.hpp"

namespace alpa {
namespace {

Region region_of(const Operand& operand) { return {operand.buffer, operand.start, operand.size()}; }

std::vector<Region> regions_of(const std::vector<Operand>& operands) {
  std::vector<Region> regions;
  regions.reserve(operands.size());
  for (const Operand& o : operands) regions.push_back(region_of(o));
  return regions;
}

std::vector<Region> regions_of(const std::vector<Message>& messages) {
  std::vector<Region> regions;
  for (const Message& m : messages) regions.push_back(m.region);
  return regions;
}

double sum(const std::vector<Bytes>& sizes) {
  Bytes total{0};
  for (const Bytes size : sizes) total += size;
  return static_cast<double>(total.value);
}

double sent_by(const Collective& c, int size, int rank) {
  const auto n = static_cast<double>(size);
  const auto r = static_cast<std::size_t>(rank);
  switch (c.kind) {
    case Collective::Kind::all_reduce:
      return 2 * (n - 1) / n * static_cast<double>(c.in.size.value);
    case Collective::Kind::all_gather:
      return (n - 1) * static_cast<double>(c.piece_sizes.at(r).value);
    case Collective::Kind::reduce_scatter:
    case Collective::Kind::all_to_all:
      return sum(c.piece_sizes) - static_cast<double>(c.piece_sizes.at(r).value);
  }
  check_failed("known collective", SourceLine::here());
}

int rank_in(const std::vector<int>& group, int world_rank) {
  const auto it = std::find(group.begin(), group.end(), world_rank);
  ALPA_CHECK(it != group.end());
  return static_cast<int>(it - group.begin());
}

std::string kind_name(const Instruction& instruction) {
  return std::visit(overloaded{[](const RunKernel&) { return std::string("kernel"); },
                               [](const Collective& c) { return to_string(c.kind); },
                               [](const Exchange&) { return std::string("exchange"); }},
                    instruction.action);
}

}  // namespace

std::string to_string(MemoryClass c) {
  switch (c) {
    case MemoryClass::parameters:
      return "parameters";
    case MemoryClass::gradients:
      return "gradients";
    case MemoryClass::optimizer:
      return "optimizer";
    case MemoryClass::stash:
      return "stash";
    case MemoryClass::transient:
      return "transient";
    case MemoryClass::buffers:
      return "buffers";
  }
  check_failed("known class", SourceLine::here());
}

std::string to_string(Collective::Kind kind) {
  switch (kind) {
    case Collective::Kind::all_reduce:
      return "all_reduce";
    case Collective::Kind::all_gather:
      return "all_gather";
    case Collective::Kind::reduce_scatter:
      return "reduce_scatter";
    case Collective::Kind::all_to_all:
      return "all_to_all";
  }
  check_failed("known collective", SourceLine::here());
}

std::string to_string(StepPhase phase) {
  switch (phase) {
    case StepPhase::prepare:
      return "prepare";
    case StepPhase::forward:
      return "forward";
    case StepPhase::backward:
      return "backward";
    case StepPhase::reduce:
      return "reduce";
    case StepPhase::update:
      return "update";
    case StepPhase::transfer:
      return "transfer";
  }
  check_failed("known phase", SourceLine::here());
}

std::size_t queue_of(const Instruction& instruction) {
  return std::visit(
      overloaded{[](const RunKernel&) { return kKernels; },
                 [](const Collective&) { return kCollectives; },
                 [](const Exchange& e) { return e.back ? kMessagesBack : kMessages; }},
      instruction.action);
}

std::vector<Region> reads(const Instruction& instruction) {
  return std::visit(overloaded{[](const RunKernel& run) {
                                 std::vector<Region> regions = regions_of(run.operands);
                                 const bool adds = std::holds_alternative<Contribute>(run.kernel) ||
                                                   std::holds_alternative<Accumulate>(run.kernel);
                                 const std::vector<Region> results = regions_of(run.results);
                                 for (std::size_t r = 0; r < results.size(); ++r) {
                                   if (adds || changes_in_place(run.kernel, r)) {
                                     regions.push_back(results[r]);
                                   }
                                 }
                                 return regions;
                               },
                               [](const Collective& c) { return std::vector<Region>{c.in}; },
                               [](const Exchange& e) { return regions_of(e.out); }},
                    instruction.action);
}

std::vector<Region> writes(const Instruction& instruction) {
  return std::visit(overloaded{[](const RunKernel& run) { return regions_of(run.results); },
                               [](const Collective& c) { return std::vector<Region>{c.out}; },
                               [](const Exchange& e) { return regions_of(e.in); }},
                    instruction.action);
}

ByteRange bytes_in_arena(const Program& program, const Region& region, const Call& call) {
  const Buffer& buffer = program.buffer(region.buffer);
  std::int64_t begin = buffer.offset.value + region.start.value;
  if (buffer.family >= 0) {
    begin += buffer.stride.value * call.slots.at(static_cast<std::size_t>(buffer.family));
  }
  return {begin, begin + region.size.value};
}

double bytes_sent(const Instruction& instruction, int group_size, int group_rank) {
  return std::visit(
      overloaded{[](const RunKernel&) { return 0.0; },
                 [&](const Collective& c) { return sent_by(c, group_size, group_rank); },
                 [](const Exchange& e) {
                   double total = 0;
                   for (const Message& m : e.out) {
                     total += static_cast<double>(m.region.size.value);
                   }
                   return total;
                 }},
      instruction.action);
}

namespace {

/// @param stands_for (segment, instruction) how many
template <class StandsFor>
ProgramTotals counted(const Program& program, const StandsFor& stands_for) {
  ProgramTotals sums;
  std::vector<std::int64_t> calls(program.segments.size(), 0);
  for (const Call& call : program.calls) ++calls[static_cast<std::size_t>(call.segment)];
  std::map<std::string, double> sent;
  std::map<std::string, std::int64_t> counts;
  for (std::size_t s = 0; s < calls.size(); ++s) {
    if (calls[s] == 0) continue;
    const auto& instructions = program.segments[s].instructions;
    for (std::size_t k = 0; k < instructions.size(); ++k) {
      const Instruction& i = instructions[k];
      const std::int64_t count = calls[s] * stands_for(s, k);
      const auto times = static_cast<double>(count);
      if (const auto* run = std::get_if<RunKernel>(&i.action)) {
        sums.flops += times * run->flops;
        continue;
      }
      int size = program.world_size;
      int rank = program.rank;
      if (const auto* c = std::get_if<Collective>(&i.action)) {
        const auto& group = program.groups.at(c->group.index());
        size = static_cast<int>(group.size());
        rank = rank_in(group, program.rank);
      }
      sent[kind_name(i)] += times * bytes_sent(i, size, rank);
      counts[kind_name(i)] += count;
    }
  }
  sums.bytes_sent.assign(sent.begin(), sent.end());
  sums.counts.assign(counts.begin(), counts.end());
  return sums;
}

}  // namespace

ProgramTotals totals(const Program& program, const std::vector<std::vector<int>>& times) {
  return counted(program, [&](std::size_t s, std::size_t k) { return times[s][k]; });
}

ProgramTotals totals(const Program& program) {
  ProgramTotals sums = counted(program, [](std::size_t, std::size_t) { return 1; });
  sums.memory.assign(kNumMemoryClasses, Bytes{0});
  std::int64_t transient_end = 0;
  std::int64_t fixed_end = 0;
  for (const Buffer& b : program.buffers) {
    const int slots = b.family < 0 ? 1 : program.family_slots[static_cast<std::size_t>(b.family)];
    const bool shared = b.memory_class == MemoryClass::transient;
    const std::int64_t end =
        b.offset.value + (b.family < 0 ? b.size.value : b.stride.value * slots);
    (shared ? transient_end : fixed_end) = std::max(shared ? transient_end : fixed_end, end);
    if (!shared) sums.memory[static_cast<std::size_t>(b.memory_class)] += b.size * slots;
  }
  sums.memory[static_cast<std::size_t>(MemoryClass::transient)] = {
      std::max<std::int64_t>(0, transient_end - fixed_end)};
  return sums;
}

std::string to_text(const Program& program) {
  std::string text;
  const auto region = [&](const Region& r) {
    const Buffer& b = program.buffer(r.buffer);
    return b.name + "@" + std::to_string(b.offset.value + r.start.value) + "+" +
           std::to_string(r.size.value) +
           (b.family < 0 ? ""
                         : "/f" + std::to_string(b.family) + "*" + std::to_string(b.stride.value));
  };
  for (std::size_t s = 0; s < program.segments.size(); ++s) {
    text += "segment " + std::to_string(s) + " " + program.segments[s].name + "\n";
    int index = 0;
    for (const Instruction& i : program.segments[s].instructions) {
      text += "  " + std::to_string(index++) + " " + kind_name(i) + " " + i.name + ":";
      for (const Region& r : reads(i)) text += " " + region(r);
      text += " ->";
      for (const Region& r : writes(i)) text += " " + region(r);
      if (!i.waits.empty()) text += " waits";
      for (const int w : i.waits) text += " " + std::to_string(w);
      text += "\n";
    }
  }
  for (const Call& call : program.calls) {
    text +=
        "call " + std::to_string(call.segment) + " m" + std::to_string(call.microbatch) + " slots";
    for (const int slot : call.slots) text += " " + std::to_string(slot);
    text += " waits";
    for (const int w : call.waits) text += " " + std::to_string(w);
    text += "\n";
  }
  return text;
}

}  // namespace alpa
