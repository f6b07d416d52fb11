#include <algorithm>
#include <numeric>

#include "alpa/base/overloaded.hpp"

#include "verify_parts.hpp"

namespace alpa::verification {
namespace {

std::string text(std::int64_t value) { return std::to_string(value); }

Bytes sum(const std::vector<Bytes>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), Bytes{0});
}

/// What all instructions must agree on about the piece that begins at one place of a buffer.
struct PieceView {
  DType dtype = DType::f32;
  Box box;
  Shape full;
  friend bool operator==(const PieceView&, const PieceView&) = default;
};

class Structure {
 public:
  Structure(const Program& program, Mistakes& mistakes)
      : program_(program), mistakes_(mistakes), touched_(program.buffers.size(), false) {}

  void run() {
    check_world();
    check_entries();
    for (const Segment& segment : program_.segments) check_segment(segment);
    for (std::size_t c = 0; c < program_.calls.size(); ++c) check_call(c);
    if (mistakes_.none()) check_how_often();
    for (std::size_t b = 0; b < touched_.size(); ++b) {
      if (touched_[b]) check_place(program_.buffers[b]);
    }
  }

 private:
  void add(const std::string& mistake) { mistakes_.add(where_ + mistake); }

  void check_world() {
    if (program_.rank < 0 || program_.rank >= program_.world_size) {
      add("rank " + text(program_.rank) + " is not one of " + text(program_.world_size));
    }
    if (program_.num_microbatches < 1) add("fewer than one microbatch");
    if (program_.contributions.size() != program_.global_scalars.size()) {
      add(text(std::ssize(program_.global_scalars)) + " global scalars but contributions to " +
          text(std::ssize(program_.contributions)));
    }
    for (const auto& group : program_.groups) {
      const bool ascending =
          std::adjacent_find(group.begin(), group.end(), std::greater_equal<>()) == group.end();
      if (group.empty() || !ascending || group.front() < 0 || group.back() >= program_.world_size) {
        add("a group's members are not ascending ranks of the world");
      }
    }
  }

  void check_entries() {
    const auto scalars = std::ssize(program_.step_scalars) + std::ssize(program_.global_scalars);
    where_ = "step state: ";
    if (in_buffer({program_.step_state, {}, {8 * scalars}})) touch(program_.step_state);
    for (const StateEntry& e : program_.state) {
      where_ = "state " + e.tensor + ": ";
      check_piece({e.buffer, {}, e.dtype, e.box, e.shape});
    }
    for (const InputEntry& e : program_.inputs) {
      where_ = "input " + e.tensor + ": ";
      if (!known(e.buffer) || program_.buffer(e.buffer).family < 0) continue;  // unused
      check_piece({e.buffer, {}, e.dtype, e.box, e.shape});
      const auto family = static_cast<std::size_t>(program_.buffer(e.buffer).family);
      if (family < program_.family_slots.size() &&
          program_.family_slots[family] < program_.num_microbatches) {
        add(text(program_.family_slots[family]) + " slots for " + text(program_.num_microbatches) +
            " microbatches");
      }
    }
  }

  void check_segment(const Segment& segment) {
    for (std::size_t i = 0; i < segment.instructions.size(); ++i) {
      const Instruction& instruction = segment.instructions[i];
      where_ = "segment " + segment.name + ", " + name_of(segment, i) + ": ";
      for (const int w : instruction.waits) {
        if (w < 0 || w >= static_cast<int>(i)) add("waits for " + text(w) + ", not an earlier one");
      }
      std::visit(overloaded{[&](const RunKernel& run) { check_kernel(run); },
                            [&](const Collective& c) { check_collective(c); },
                            [&](const Exchange& e) { check_exchange(e); }},
                 instruction.action);
    }
  }

  void check_kernel(const RunKernel& run) {
    for (const Operand& o : run.operands) check_piece(o);
    for (const Operand& o : run.results) check_piece(o);
    if (run.results.empty()) add("has no result");
    if (run.workspace.valid() && in_buffer({run.workspace, {}, {0}})) touch(run.workspace);
    if (std::holds_alternative<CopyBox>(run.kernel)) {
      const bool one_each = run.operands.size() == 1 && run.results.size() == 1;
      if (!one_each || run.operands[0].full != run.results[0].full ||
          run.operands[0].dtype != run.results[0].dtype) {
        add("copies between pieces of different tensors");
      }
    }
  }

  void check_collective(const Collective& c) {
    if (!c.group.valid() || c.group.index() >= program_.groups.size()) {
      add("group " + text(c.group.value) + " does not exist");
      return;
    }
    const auto& group = program_.groups[c.group.index()];
    const int rank = rank_in(group, program_.rank);
    if (rank < 0) {
      add("its group does not contain this rank");
      return;
    }
    const bool in = check_region(c.in, c.dtype);
    const bool out = check_region(c.out, c.dtype);
    if (in && out) check_sizes(c, group.size(), static_cast<std::size_t>(rank));
  }

  void check_sizes(const Collective& c, std::size_t members, std::size_t rank) {
    using Kind = Collective::Kind;
    if (c.kind == Kind::all_reduce) {
      if (c.in.buffer != c.out.buffer || c.in.start != c.out.start || c.in.size != c.out.size) {
        add("all_reduce works in place, but input and output differ");
      }
      return;
    }
    if (c.piece_sizes.size() != members ||
        (c.kind == Kind::all_to_all && c.in_sizes.size() != members)) {
      add("has sizes for " + text(std::ssize(c.piece_sizes)) + " members, its group has " +
          text(static_cast<std::int64_t>(members)));
      return;
    }
    const auto element = size_of(c.dtype);
    for (const Bytes size : c.piece_sizes) {
      if (size.value < 0 || size.value % element != 0) add("a piece is not whole elements");
    }
    const Bytes mine = c.piece_sizes[rank];
    const Bytes all = sum(c.piece_sizes);
    const auto expect = [&](const char* what, Bytes found, Bytes expected) {
      if (found == expected) return;
      add(std::string(what) + " has " + text(found.value) + " bytes, its pieces make " +
          text(expected.value));
    };
    expect("input", c.in.size, c.kind == Kind::all_gather ? mine : all);
    if (c.kind == Kind::all_gather) expect("output", c.out.size, all);
    if (c.kind == Kind::reduce_scatter) expect("output", c.out.size, mine);
    if (c.kind == Kind::all_to_all) {
      expect("output", c.out.size, sum(c.in_sizes));
      expect("the part that stays", c.in_sizes[rank], mine);
    }
  }

  void check_exchange(const Exchange& e) {
    if (e.out.empty() && e.in.empty()) add("has no message");
    for (const auto* messages : {&e.out, &e.in}) {
      for (const Message& m : *messages) {
        if (in_buffer(m.region)) touch(m.region.buffer);
        if (m.region.size.value <= 0) add("message " + m.value + " is empty");
        if (m.peer < 0 || m.peer >= program_.world_size || m.peer == program_.rank) {
          add("message " + m.value + " goes to or comes from rank " + text(m.peer));
        }
      }
    }
  }

  [[nodiscard]] bool known(BufferId id) const {
    return id.valid() && id.index() < program_.buffers.size();
  }

  void touch(BufferId id) { touched_[id.index()] = true; }

  bool in_buffer(const Region& r) {
    if (!known(r.buffer)) {
      add("buffer " + text(r.buffer.value) + " does not exist");
      return false;
    }
    const Buffer& b = program_.buffer(r.buffer);
    if (r.start.value >= 0 && r.size.value >= 0 && r.start + r.size <= b.size) return true;
    add("bytes " + text_of({r.start.value, (r.start + r.size).value}) + " of buffer " + b.name +
        ", which has " + text(b.size.value));
    return false;
  }

  /// A buffer holds values of one dtype.
  bool check_region(const Region& r, DType dtype) {
    if (!in_buffer(r)) return false;
    touch(r.buffer);
    const auto [it, is_new] = dtypes_.try_emplace(r.buffer, dtype);
    if (it->second != dtype) {
      add("buffer " + program_.buffer(r.buffer).name + " is used as " +
          std::string(to_string(dtype)) + " here, as " + std::string(to_string(it->second)) +
          " elsewhere");
    }
    if (r.size.value % size_of(dtype) != 0 || r.start.value % size_of(dtype) != 0) {
      add("bytes of buffer " + program_.buffer(r.buffer).name + " are not whole elements");
    }
    return true;
  }

  void check_piece(const Operand& o) {
    const std::size_t dims = o.full.size();
    bool fits = o.box.offset.size() == dims && o.box.extent.size() == dims;
    for (std::size_t d = 0; fits && d < dims; ++d) {
      fits = o.box.offset[d] >= 0 && o.box.extent[d] >= 0 &&
             o.box.offset[d] + o.box.extent[d] <= o.full[d];
    }
    if (!fits) {
      add("box " + to_string(o.box) + " does not lie in " + to_string(o.full));
      return;
    }
    if (!check_region({o.buffer, o.start, o.size()}, o.dtype)) return;
    const auto [it, is_new] =
        views_.try_emplace({o.buffer, o.start.value}, PieceView{o.dtype, o.box, o.full});
    if (it->second == PieceView{o.dtype, o.box, o.full}) return;
    add("buffer " + program_.buffer(o.buffer).name + " is seen as " + to_string(o.box) + " of " +
        to_string(o.full) + " here, as " + to_string(it->second.box) + " of " +
        to_string(it->second.full) + " elsewhere");
  }

  void check_place(const Buffer& b) {
    where_ = "buffer " + b.name + ": ";
    int slots = 1;
    if (b.family >= 0) {
      if (b.family >= std::ssize(program_.family_slots)) {
        add("family " + text(b.family) + " does not exist");
        return;
      }
      slots = program_.family_slots[static_cast<std::size_t>(b.family)];
      if (slots > 1 && b.stride < b.size) {
        add("slots of " + text(b.size.value) + " bytes lie " + text(b.stride.value) + " apart");
      }
    }
    const Bytes end = b.offset + b.stride * std::max(0, slots - 1) + b.size;
    if (b.offset.value < 0 || end > program_.arena) {
      add("bytes " + text_of({b.offset.value, end.value}) + " of an arena of " +
          text(program_.arena.value));
    }
  }

  void check_call(std::size_t c) {
    const Call& call = program_.calls[c];
    where_ = "call " + text(static_cast<std::int64_t>(c)) + ": ";
    if (call.segment < 0 || call.segment >= std::ssize(program_.segments)) {
      add("segment " + text(call.segment) + " does not exist");
      return;
    }
    where_ = name_of(program_, c) + ": ";
    for (const int w : call.waits) {
      if (w < 0 || w >= static_cast<int>(c)) add("waits for " + text(w) + ", not an earlier call");
    }
    const auto is_microbatch = [&](int m) { return m >= 0 && m < program_.num_microbatches; };
    if (!is_microbatch(call.microbatch)) add("no such microbatch");
    const std::size_t families = program_.family_slots.size();
    if (call.slots.size() != families || call.slot_microbatch.size() != families) {
      add("has slots for " + text(std::ssize(call.slots)) + " families, expected " +
          text(static_cast<std::int64_t>(families)));
      return;
    }
    for (std::size_t f = 0; f < families; ++f) {
      if (call.slots[f] < 0 || call.slots[f] >= program_.family_slots[f]) {
        add("slot " + text(call.slots[f]) + " of family " + text(static_cast<std::int64_t>(f)) +
            ", which has " + text(program_.family_slots[f]));
      }
      if (!is_microbatch(call.slot_microbatch[f])) add("a slot holds no such microbatch");
    }
  }

  /// Forward and backward once for each microbatch, prepare, reduce and update once.
  void check_how_often() {
    std::vector<std::vector<int>> microbatches(program_.segments.size());
    for (const Call& call : program_.calls) {
      microbatches[static_cast<std::size_t>(call.segment)].push_back(call.microbatch);
    }
    for (std::size_t s = 0; s < microbatches.size(); ++s) {
      const auto& instructions = program_.segments[s].instructions;
      if (instructions.empty() || instructions.front().phase == StepPhase::transfer) continue;
      const StepPhase phase = instructions.front().phase;
      const bool each = phase == StepPhase::forward || phase == StepPhase::backward;
      std::vector<int> expected(static_cast<std::size_t>(each ? program_.num_microbatches : 1));
      std::iota(expected.begin(), expected.end(), 0);
      std::sort(microbatches[s].begin(), microbatches[s].end());
      if (microbatches[s] == expected) continue;
      where_ = "segment " + program_.segments[s].name + ": ";
      add("runs " + text(std::ssize(microbatches[s])) + " times, expected once " +
          (each ? "for each of " + text(program_.num_microbatches) + " microbatches" : "a step"));
    }
  }

  const Program& program_;
  Mistakes& mistakes_;
  std::string where_;
  std::vector<bool> touched_;
  std::map<BufferId, DType> dtypes_;
  std::map<std::pair<BufferId, std::int64_t>, PieceView> views_;
};

}  // namespace

void check_structure(const Program& program, Mistakes& mistakes) {
  Structure(program, mistakes).run();
}

}  // namespace alpa::verification
