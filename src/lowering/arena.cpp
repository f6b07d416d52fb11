#include "arena.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/memory/packing.hpp"

namespace alpa {
namespace {

using Kind = SegmentInfo::Kind;

/// The segments that use a buffer, and the first and last instruction in each.
using Uses = std::map<int, std::pair<int, int>>;

std::vector<Uses> uses_of(const Program& program) {
  std::vector<Uses> uses(program.buffers.size());
  for (std::size_t s = 0; s < program.segments.size(); ++s) {
    const auto& instructions = program.segments[s].instructions;
    for (std::size_t i = 0; i < instructions.size(); ++i) {
      const auto touch = [&](const Region& region) {
        const int at = static_cast<int>(i);
        auto [it, is_new] = uses[region.buffer.index()].try_emplace(static_cast<int>(s), at, at);
        it->second.second = at;
      };
      for (const Region& region : reads(instructions[i])) touch(region);
      for (const Region& region : writes(instructions[i])) touch(region);
      const auto* run = std::get_if<RunKernel>(&instructions[i].action);
      if (run != nullptr && run->workspace.valid()) touch({run->workspace, {}, {}});
    }
  }
  return uses;
}

bool same_but_microbatch(Work a, const Work& b) {
  a.microbatch = b.microbatch;
  return a == b;
}

class Layout {
 public:
  Layout(LoweredSegments lowered, const RepeatedLayers& repeats)
      : lowered_(std::move(lowered)),
        program_(lowered_.program),
        repeats_(repeats),
        uses_(uses_of(program_)) {
    for (const StateEntry& entry : program_.state) fixed_.insert(entry.buffer);
    for (const InputEntry& entry : program_.inputs) inputs_.insert(entry.buffer);
    fixed_.insert(program_.step_state);
  }

  Program run() {
    ALPA_CHECK(place());
    fill_calls();
    program_.arena = end_;
    return std::move(program_);
  }

  std::optional<CountedStep> count() {
    if (!place()) return std::nullopt;
    CountedStep step;
    for (const auto& layers : lowered_.layer_of_instruction) {
      auto& times = step.times.emplace_back();
      for (const int layer : layers) times.push_back(repeats_.times(layer));
    }
    step.arena = program_.arena = end_;
    step.totals = totals(program_, step.times);
    step.totals.memory = memory();
    step.program = std::move(program_);
    return step;
  }

 private:
  [[nodiscard]] bool place() {
    place_fixed();
    for (std::size_t b = 0; b < program_.buffers.size(); ++b) {
      const BufferId id{static_cast<std::int32_t>(b)};
      if (fixed_.contains(id) || uses_[b].empty()) continue;
      if (inputs_.contains(id))
        place_slots(id, microbatch_key());
      else if (is_transient(b))
        by_segment_[uses_[b].begin()->first].push_back(id);
      else if (lives_a_step(b))
        place_at_end(id);
      else
        place_slots(id, lifetime_of(b));
    }
    return place_transients();
  }

  /// Begin and ends of a value's life, as work and rows after it: equal keys share a family.
  struct Key {
    Work begin;
    std::set<std::pair<Work, int>> ends;
    bool per_microbatch = false;  ///< a slot for each microbatch (inputs)
    friend auto operator<=>(const Key&, const Key&) = default;
  };

  [[nodiscard]] const SegmentInfo& info(int segment) const {
    return lowered_.info[static_cast<std::size_t>(segment)];
  }

  void place_fixed() {
    for (const StateEntry& entry : program_.state) place_at_end(entry.buffer);
    place_at_end(program_.step_state);
  }

  void place_at_end(BufferId id) {
    Buffer& buffer = program_.buffers[id.index()];
    if (buffer.memory_class == MemoryClass::transient) buffer.memory_class = MemoryClass::buffers;
    buffer.offset = end_;
    end_ += align_up(buffer.size) * copies(id);
    fixed_end_ = end_ - align_up(buffer.size) + buffer.size;
  }

  /// Buffers of the whole line that one stands for.
  [[nodiscard]] int copies(BufferId id) const {
    return repeats_.times(lowered_.layer_of_buffer[id.index()]);
  }

  [[nodiscard]] bool is_transient(std::size_t b) const {
    if (program_.buffers[b].memory_class == MemoryClass::gradients) return false;
    return uses_[b].size() == 1 && info(uses_[b].begin()->first).kind != Kind::exchange;
  }

  [[nodiscard]] bool lives_a_step(std::size_t b) const {
    if (program_.buffers[b].memory_class == MemoryClass::gradients) return true;
    return std::any_of(uses_[b].begin(), uses_[b].end(),
                       [&](const auto& use) { return info(use.first).kind == Kind::once; }) ||
           carried_once(b);
  }

  /// Used by the exchanges of prepare or reduce, which carry no work.
  [[nodiscard]] bool carried_once(std::size_t b) const {
    return std::any_of(uses_[b].begin(), uses_[b].end(), [&](const auto& use) {
      return info(use.first).kind == Kind::exchange && carried(use.first, b) == nullptr;
    });
  }

  [[nodiscard]] const Carried* carried(int segment, std::size_t b) const {
    const auto it = lowered_.carried.find({segment, {static_cast<std::int32_t>(b)}});
    return it == lowered_.carried.end() ? nullptr : &it->second;
  }

  [[nodiscard]] static Key microbatch_key() {
    Key key;
    key.per_microbatch = true;
    return key;
  }

  /// From the work that makes the value, here or on the stage that sends it, to the last that uses
  /// it; a sent value lives a row longer, so that the next row need not wait for the sending.
  [[nodiscard]] Key lifetime_of(std::size_t b) const {
    Key key;
    bool found = false;
    for (const auto& [segment, range] : uses_[b]) {
      if (info(segment).kind == Kind::exchange) continue;
      const SegmentInfo& what = info(segment);
      const Work work{what.chunk, what.kind == Kind::backward, 0, what.weights};
      if (!found || (!work.backward && key.begin.backward)) key.begin = work;
      found = true;
      key.ends.insert({work, 0});
    }
    for (const auto& [segment, range] : uses_[b]) {
      const Carried* carries = carried(segment, b);
      if (carries == nullptr) continue;
      if (carries->received)
        key.begin = carries->work;
      else
        key.ends.insert({carries->work, 1});
    }
    return key;
  }

  [[nodiscard]] std::size_t row_index(const Work& work, int microbatch) const {
    const int part = work.weights ? 2 : work.backward ? 1 : 0;
    return static_cast<std::size_t>(3 * work.chunk + part) *
               static_cast<std::size_t>(program_.num_microbatches) +
           static_cast<std::size_t>(microbatch);
  }

  [[nodiscard]] int row(const Work& work, int microbatch) const {
    const Schedule& schedule = *lowered_.schedule;
    if (rows_.empty()) {
      rows_.resize(
          3 * schedule.stage_of_chunk.size() * static_cast<std::size_t>(program_.num_microbatches),
          -1);
      for (std::size_t s = 0; s < schedule.order.size(); ++s) {
        for (std::size_t k = 0; k < schedule.order[s].size(); ++k) {
          const Work& placed = schedule.order[s][k];
          rows_[row_index(placed, placed.microbatch)] = schedule.row[s][k];
        }
      }
    }
    const int found = rows_[row_index(work, microbatch)];
    ALPA_CHECK(found >= 0);
    return found;
  }

  void place_slots(BufferId id, const Key& key) {
    Buffer& buffer = program_.buffers[id.index()];
    buffer.family = family(key);
    if (buffer.memory_class == MemoryClass::transient) buffer.memory_class = MemoryClass::stash;
    buffer.stride = align_up(buffer.size);
    buffer.offset = end_;
    end_ += buffer.stride * slots_of(buffer) * copies(id);
    fixed_end_ = end_;
  }

  [[nodiscard]] int slots_of(const Buffer& buffer) const {
    return buffer.family < 0 ? 1 : program_.family_slots[static_cast<std::size_t>(buffer.family)];
  }

  int family(const Key& key) {
    const auto [it, is_new] = families_.try_emplace(key, static_cast<int>(families_.size()));
    if (!is_new) return it->second;
    const int microbatches = program_.num_microbatches;
    Slots slots;
    if (key.per_microbatch) {
      slots.count = microbatches;
      for (int m = 0; m < microbatches; ++m) slots.slot.push_back(m);
    } else {
      std::vector<Interval> intervals;
      for (int m = 0; m < microbatches; ++m) {
        int end = 0;
        for (const auto& [work, rows_after] : key.ends) {
          end = std::max(end, row(work, m) + rows_after);
        }
        intervals.push_back({row(key.begin, m), end});
      }
      slots = color(intervals);
    }
    program_.family_slots.push_back(slots.count);
    slots_.push_back(std::move(slots));
    begin_.push_back(key);
    return it->second;
  }

  /// False if the lives of some value in the whole line do not follow from those here.
  [[nodiscard]] bool place_transients() {
    Bytes most{0};
    for (const auto& [segment, ids] : by_segment_) {
      const auto lives = lives_of(segment, ids);
      if (!lives) return false;
      const Packing packing = pack(lives->lifetimes);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        program_.buffers[ids[i].index()].offset = end_ + packing.offsets[lives->first[i]];
        program_.buffers[ids[i].index()].memory_class = MemoryClass::transient;
      }
      for (std::size_t l = 0; l < packing.offsets.size(); ++l) {
        transient_end_ =
            std::max(transient_end_, end_ + packing.offsets[l] + lives->lifetimes[l].size);
      }
      most = std::max(most, packing.total);
    }
    end_ += most;
    return true;
  }

  /// Of buffers and those that they stand for, in the order in which all are made.
  struct Lives {
    std::vector<Lifetime> lifetimes;
    std::vector<std::size_t> first;  ///< [buffer] its own
  };

  [[nodiscard]] std::optional<Lives> lives_of(int segment, const std::vector<BufferId>& ids) const {
    const RepeatedSegment repeated(lowered_.layer_of_instruction[static_cast<std::size_t>(segment)],
                                   repeats_);
    const auto range = [&](std::size_t i) { return uses_[ids[i].index()].begin()->second; };
    Lives lives;
    for (std::size_t begin = 0; begin < ids.size();) {
      const int sweep = repeated.sweep_of(range(begin).first);
      std::size_t end = begin + 1;
      while (sweep >= 0 && end < ids.size() && repeated.sweep_of(range(end).first) == sweep) ++end;
      const int times = repeated.times(range(begin).first);
      for (int copy = 0; copy < times; ++copy) {
        for (std::size_t i = begin; i < end; ++i) {
          const Bytes size = program_.buffers[ids[i].index()].size;
          const auto life = repeated.lifetime(range(i).first, range(i).second, size, copy);
          if (!life || copies(ids[i]) != times) return std::nullopt;
          if (copy == 0) lives.first.push_back(lives.lifetimes.size());
          lives.lifetimes.push_back(*life);
        }
      }
      begin = end;
    }
    return lives;
  }

  /// Bytes by class of all buffers that those here stand for, as `totals` counts them.
  [[nodiscard]] std::vector<Bytes> memory() const {
    std::vector<Bytes> sums(kNumMemoryClasses, Bytes{0});
    for (std::size_t b = 0; b < program_.buffers.size(); ++b) {
      const Buffer& buffer = program_.buffers[b];
      const BufferId id{static_cast<std::int32_t>(b)};
      if (buffer.memory_class == MemoryClass::transient) continue;
      sums[static_cast<std::size_t>(buffer.memory_class)] +=
          buffer.size * slots_of(buffer) * copies(id);
    }
    sums[static_cast<std::size_t>(MemoryClass::transient)] =
        std::max(Bytes{0}, transient_end_ - fixed_end_);
    return sums;
  }

  void fill_calls() {
    for (std::size_t c = 0; c < program_.calls.size(); ++c) {
      Call& call = program_.calls[c];
      call.slots.assign(slots_.size(), 0);
      call.slot_microbatch.assign(slots_.size(), 0);
      for (std::size_t f = 0; f < slots_.size(); ++f) {
        int microbatch = call.microbatch;
        if (info(call.segment).kind == Kind::exchange) {
          for (const Work& work : lowered_.works[c]) {
            if (same_but_microbatch(work, begin_[f].begin)) microbatch = work.microbatch;
            for (const auto& [end, rows_after] : begin_[f].ends) {
              if (rows_after > 0 && same_but_microbatch(work, end)) microbatch = work.microbatch;
            }
          }
        }
        call.slot_microbatch[f] = microbatch;
        call.slots[f] = slots_[f].slot[static_cast<std::size_t>(microbatch)];
      }
    }
  }

  LoweredSegments lowered_;
  Program& program_;
  const RepeatedLayers& repeats_;
  std::vector<Uses> uses_;
  std::set<BufferId> fixed_, inputs_;
  std::map<int, std::vector<BufferId>> by_segment_;
  std::map<Key, int> families_;
  std::vector<Slots> slots_;
  std::vector<Key> begin_;
  mutable std::vector<int> rows_;  ///< [chunk][part][microbatch]
  Bytes end_{0}, fixed_end_{0}, transient_end_{0};
};

}  // namespace

Program lay_out(LoweredSegments lowered) {
  const RepeatedLayers none(LayerLine(0));
  return Layout(std::move(lowered), none).run();
}

std::optional<CountedStep> count(LoweredSegments lowered, const RepeatedLayers& repeats) {
  return Layout(std::move(lowered), repeats).count();
}

}  // namespace alpa
