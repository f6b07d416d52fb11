#include <optional>

#include "byte_map.hpp"
#include "verify_parts.hpp"

namespace alpa::verification {
namespace {

using Kind = Access::Kind;

/// Calls visit(start, size), in bytes from the whole's first, for each run of `part` in the dense
/// memory of `whole`.
///
/// Example: columns 1 and 2 of a [2, 4] f32 whole are (4, 8) and (20, 8); rows are one run.
template <class Visit>
void for_each_run(const Box& whole, const Box& part, std::int64_t element, const Visit& visit) {
  if (is_empty(part)) return;
  std::size_t inner = whole.extent.size();  // dimensions from here on lie in one run
  std::int64_t run = element;
  std::int64_t stride = element;
  while (inner > 0) {
    --inner;
    run = stride * part.extent[inner];
    if (part.extent[inner] != whole.extent[inner]) break;
    stride *= whole.extent[inner];
  }
  std::vector<std::int64_t> at(inner, 0);
  while (true) {
    std::int64_t start = 0;
    for (std::size_t d = 0; d < whole.extent.size(); ++d) {
      const std::int64_t index = part.offset[d] - whole.offset[d] + (d < inner ? at[d] : 0);
      start = start * whole.extent[d] + index;
    }
    visit(start * element, run);
    std::size_t d = inner;
    while (d > 0 && ++at[d - 1] == part.extent[d - 1]) at[--d] = 0;
    if (d == 0) return;
  }
}

/// Executes calls one after the other, which is what any order that check_order allows amounts to.
///
/// A value's tag is its buffer, its epoch and its version. The epoch is the microbatch for buffers
/// with slots, the call for those that live within one, and 0 for those that live for a step.
class Values {
 public:
  Values(const Program& program, Mistakes& mistakes) : program_(program), mistakes_(mistakes) {}

  void run() {
    define_inputs();
    for (std::size_t c = 0; c < program_.calls.size(); ++c) {
      const Call& call = program_.calls[c];
      const Segment& segment = segment_of(program_, call);
      call_ = c;
      for (instruction_ = 0; instruction_ < segment.instructions.size(); ++instruction_) {
        execute(segment.instructions[instruction_], call);
      }
    }
    check_end();
  }

 private:
  void add(const std::string& mistake) {
    const Segment& segment = segment_of(program_, program_.calls[call_]);
    mistakes_.add(name_of(program_, call_) + ", " + name_of(segment, instruction_) + ": " +
                  mistake);
  }

  [[nodiscard]] ByteRange scalar(std::size_t index) const {
    const std::int64_t begin =
        program_.buffer(program_.step_state).offset.value + 8 * static_cast<std::int64_t>(index);
    return {begin, begin + 8};
  }

  /// What the host writes before a step. Gradient sums start with their first sum.
  void define_inputs() {
    for (std::size_t s = 0; s < program_.step_scalars.size() + program_.global_scalars.size();
         ++s) {
      memory_.write(scalar(s), {program_.step_state.value, 0, 0});
    }
    for (const StateEntry& entry : program_.state) {
      const Buffer& b = program_.buffer(entry.buffer);
      memory_.write({b.offset.value, (b.offset + b.size).value}, {entry.buffer.value, 0, 0});
    }
    for (const InputEntry& entry : program_.inputs) {
      const Buffer& b = program_.buffer(entry.buffer);
      if (b.family < 0) continue;
      for (int m = 0; m < program_.num_microbatches; ++m) {
        const Bytes begin = b.offset + b.stride * m;
        memory_.write({begin.value, (begin + b.size).value}, {entry.buffer.value, m, 0});
      }
    }
  }

  [[nodiscard]] int epoch(BufferId id, const Call& call) const {
    const Buffer& b = program_.buffer(id);
    if (b.family >= 0) return call.slot_microbatch[static_cast<std::size_t>(b.family)];
    return b.memory_class == MemoryClass::transient ? static_cast<int>(call_) : 0;
  }

  void execute(const Instruction& instruction, const Call& call) {
    const auto* run = std::get_if<RunKernel>(&instruction.action);
    const bool first = run != nullptr && run->first && call.microbatch == 0;
    const std::vector<Access> all = accesses(program_, instruction, first);
    std::vector<ByteRange> ranges;
    for (const Access& a : all) ranges.push_back(bytes_in_arena(program_, a.region, call));
    for (std::size_t a = 0; a < all.size(); ++a) {
      check_apart(all, ranges, a);
      if (!std::holds_alternative<Exchange>(instruction.action)) check_microbatch(all[a], call);
      read(all[a], ranges[a], call);
    }
    for (std::size_t a = 0; a < all.size(); ++a) write(all[a], ranges[a], call);
  }

  /// What an instruction writes meets nothing else that it touches.
  void check_apart(const std::vector<Access>& all, const std::vector<ByteRange>& ranges,
                   std::size_t a) {
    if (all[a].kind == Kind::read) return;
    for (std::size_t b = 0; b < all.size(); ++b) {
      if (a == b || (b < a && all[b].kind != Kind::read)) continue;
      const ByteRange both{std::max(ranges[a].begin, ranges[b].begin),
                           std::min(ranges[a].end, ranges[b].end)};
      if (both.begin >= both.end) continue;
      add("writes bytes " + text_of(both) + " of buffer " + name(all[a].region.buffer) +
          " and touches them as buffer " + name(all[b].region.buffer));
    }
  }

  /// Kernels and collectives work on their call's microbatch.
  void check_microbatch(const Access& access, const Call& call) {
    const int family = program_.buffer(access.region.buffer).family;
    if (family < 0) return;
    const int found = call.slot_microbatch[static_cast<std::size_t>(family)];
    if (found == call.microbatch) return;
    add("uses buffer " + name(access.region.buffer) + " of microbatch " + std::to_string(found));
  }

  [[nodiscard]] const std::string& name(BufferId id) const { return program_.buffer(id).name; }

  [[nodiscard]] std::string describe(const Tag& tag) const {
    std::string text = name({tag.buffer});
    const Buffer& b = program_.buffer({tag.buffer});
    if (b.family >= 0) text += " of microbatch " + std::to_string(tag.epoch);
    if (b.family < 0 && b.memory_class == MemoryClass::transient) {
      text += " of call " + std::to_string(tag.epoch);
    }
    return text + ", version " + std::to_string(tag.version);
  }

  void expect(ByteRange range, const Tag& expected) {
    memory_.visit(range, [&](const Tag* found) {
      if (found != nullptr && *found == expected) return true;
      add("expects " + describe(expected) + " in bytes " + text_of(range) + ", finds " +
          (found == nullptr || found->buffer < 0 ? "nothing" : describe(*found)));
      return false;
    });
  }

  [[nodiscard]] bool is_global_reduction(const Access& access) const {
    return access.kind == Kind::change && access.region.buffer == program_.step_state;
  }

  /// Calls visit(range, version before) for each global scalar in the region.
  template <class Visit>
  void for_each_global(ByteRange region, const Visit& visit) const {
    for (std::size_t g = 0; g < program_.global_scalars.size(); ++g) {
      const ByteRange range = scalar(program_.step_scalars.size() + g);
      if (range.begin < region.end && region.begin < range.end) {
        visit(range, program_.contributions[g]);
      }
    }
  }

  void read(const Access& access, ByteRange range, const Call& call) {
    const Region& r = access.region;
    if (is_global_reduction(access)) {
      for_each_global(
          range, [&](ByteRange one, int version) { expect(one, {r.buffer.value, 0, version}); });
      return;
    }
    if (access.kind == Kind::read) {
      expect(range, {r.buffer.value, epoch(r.buffer, call), r.version});
    }
    if (access.kind == Kind::change) {
      expect(range, {r.buffer.value, epoch(r.buffer, call), r.version - 1});
    }
    if (access.kind == Kind::add) check_sum(access, range, call);
  }

  /// A sum may stand at any count of its own value.
  void check_sum(const Access& access, ByteRange range, const Call& call) {
    const Tag own{access.region.buffer.value, epoch(access.region.buffer, call), 0};
    memory_.visit(range, [&](const Tag* found) {
      if (found != nullptr && found->buffer == own.buffer && found->epoch == own.epoch) return true;
      add("adds to " + name(access.region.buffer) + " in bytes " + text_of(range) + ", finds " +
          (found == nullptr || found->buffer < 0 ? "nothing" : describe(*found)));
      return false;
    });
  }

  void write(const Access& access, ByteRange range, const Call& call) {
    const Region& r = access.region;
    const Tag tag{r.buffer.value, epoch(r.buffer, call), r.version};
    if (is_global_reduction(access)) {
      for_each_global(range, [&](ByteRange one, int version) {
        memory_.write(one, {r.buffer.value, 0, version + 1});
      });
    } else if (access.kind == Kind::scribble) {
      memory_.write(range, {});
    } else if (access.from != nullptr) {
      const Box common = intersect(access.from->box, access.to->box);
      for_each_run(access.to->box, common, size_of(access.to->dtype),
                   [&](std::int64_t start, std::int64_t size) {
                     memory_.write({range.begin + start, range.begin + start + size}, tag);
                   });
    } else if (access.kind == Kind::add) {
      Tag next = tag;
      memory_.visit(range, [&](const Tag* found) {
        next.version = found == nullptr ? 1 : found->version + 1;
        return false;
      });
      memory_.write(range, next);
    } else if (access.kind != Kind::read) {
      memory_.write(range, tag);
    }
  }

  void check_end() {
    const auto expect_at_end = [&](const std::string& what, ByteRange range, const Tag& expected) {
      memory_.visit(range, [&](const Tag* found) {
        if (found != nullptr && *found == expected) return true;
        mistakes_.add("at the end " + what + " is expected as version " +
                      std::to_string(expected.version) + ", found as " +
                      (found == nullptr || found->buffer < 0 ? "nothing" : describe(*found)));
        return false;
      });
    };
    for (const StateEntry& entry : program_.state) {
      const Buffer& b = program_.buffer(entry.buffer);
      expect_at_end("state " + entry.tensor, {b.offset.value, (b.offset + b.size).value},
                    {entry.buffer.value, 0, entry.version});
    }
    const int reduced = program_.world_size > 1 ? 1 : 0;
    for (std::size_t g = 0; g < program_.global_scalars.size(); ++g) {
      expect_at_end("scalar " + program_.global_scalars[g],
                    scalar(program_.step_scalars.size() + g),
                    {program_.step_state.value, 0, program_.contributions[g] + reduced});
    }
    for (std::size_t s = 0; s < program_.step_scalars.size(); ++s) {
      expect_at_end("scalar " + program_.step_scalars[s], scalar(s),
                    {program_.step_state.value, 0, 0});
    }
  }

  const Program& program_;
  Mistakes& mistakes_;
  ByteMap memory_;
  std::size_t call_ = 0;
  std::size_t instruction_ = 0;
};

}  // namespace

void check_values(const Program& program, Mistakes& mistakes) { Values(program, mistakes).run(); }

}  // namespace alpa::verification
