#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/base/units.hpp"
#include "alpa/graph/kernel.hpp"

namespace alpa {

using BufferId = Id<struct BufferTag>;
using GroupId = Id<struct GroupTag>;

/// What memory is for; the classes of the memory table.
enum class MemoryClass : std::uint8_t {
  parameters,  ///< as stored, and copies gathered for a whole step
  gradients,   ///< accumulators
  optimizer,   ///< optimizer states
  stash,       ///< kept from a microbatch's forward to its backward
  transient,   ///< within one segment
  buffers,     ///< inputs, messages between stages, step state
};
inline constexpr int kNumMemoryClasses = 6;
[[nodiscard]] std::string to_string(MemoryClass c);

/// Bytes [offset + slot * stride, + size) of the arena, holding one logical value. Buffers with a
/// slot family have one slot per microbatch in flight, chosen by the call; others have one.
struct Buffer {
  std::string name;
  Bytes offset, size, stride;
  int family = -1;
  MemoryClass memory_class = MemoryClass::transient;
};

/// A dense piece of a tensor in a buffer: `box` of a tensor of shape `full`, `start` bytes after
/// the buffer's first.
///
/// `version` counts how often the value has been written: before a read, after a write. What the
/// host puts into a buffer is version 0, what is made anew version 1 (pieces put together by
/// several copies, too), and each change in place adds 1; a sum over microbatches adds 1 for each
/// of them. Nothing runs by it: `verify` checks that each read finds the version it was written
/// for.
struct Operand {
  BufferId buffer;
  Bytes start;
  DType dtype = DType::f32;
  Box box;
  Shape full;
  int version = 0;
  [[nodiscard]] Bytes size() const { return bytes_of(box.extent, dtype); }
};

/// Runs a kernel on the compute queue (CopyBox and Fill too). `workspace` may be unset.
struct RunKernel {
  Kernel kernel;
  std::vector<Operand> operands, results;
  BufferId workspace;
  bool first = false;  ///< Accumulate: this is the buffer's first sum of a step at microbatch 0
  double flops = 0.0;  ///< of these pieces
};

/// Bytes [start, start + size) of a buffer; `version` as in Operand.
struct Region {
  BufferId buffer;
  Bytes start, size;
  int version = 0;
};

/// A collective over a group, on the collective queue. `piece_sizes` has the bytes of each member's
/// piece, in group order.
///   all_reduce      in == out, in place
///   all_gather      in: this rank's piece, out: the whole
///   reduce_scatter  in: the whole, out: this rank's piece
///   all_to_all      in: parts for each member (piece_sizes), out: parts from each (in_sizes)
struct Collective {
  enum class Kind : std::uint8_t { all_reduce, all_gather, reduce_scatter, all_to_all } kind{};
  GroupId group;
  Region in, out;
  std::vector<Bytes> piece_sizes;
  std::vector<Bytes> in_sizes;  ///< of all_to_all: bytes that come from each member
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
};
[[nodiscard]] std::string to_string(Collective::Kind kind);

/// One message to or from a world rank. `value` names the tensor; equal on both sides.
struct Message {
  int peer = 0;
  Region region;
  std::string value;
};

/// All messages of one row of the schedule that go one way, sent and received at once. What
/// backwards make goes on a point-to-point queue of its own, so that neither way waits for the
/// other: what one stage sends is ready long before what its neighbour answers.
struct Exchange {
  std::vector<Message> out, in;
  bool back = false;  ///< made by backwards; equal on both sides
};

enum class StepPhase : std::uint8_t { prepare, forward, backward, reduce, update, transfer };
[[nodiscard]] std::string to_string(StepPhase phase);

/// `waits` are earlier instructions of the segment that must have ended, on other queues or on this
/// one (queues run in order, so the latter are implied).
struct Instruction {
  std::string name;  ///< "layers.3.attention.qkv", "all_reduce grad.w1"
  std::variant<RunKernel, Collective, Exchange> action;
  StepPhase phase = StepPhase::forward;
  std::vector<int> waits;
};

/// Kernels, collectives and messages each way have a queue.
inline constexpr std::size_t kQueues = 4;
inline constexpr std::size_t kKernels = 0;
inline constexpr std::size_t kCollectives = 1;
inline constexpr std::size_t kMessages = 2;  ///< what forwards make, and what crosses once a step
inline constexpr std::size_t kMessagesBack = 3;  ///< what backwards make
[[nodiscard]] std::size_t queue_of(const Instruction& instruction);

struct Segment {
  std::string name;  ///< "forward 0", "exchange 3"
  std::vector<Instruction> instructions;
  int chunk = -1;        ///< whose forward or backward it is; -1: none's
  bool weights = false;  ///< of a split backward, the gradients of parameters
};

/// One run of a segment. For each family f that the segment uses, `slots[f]` is its slot and
/// `slot_microbatch[f]` the microbatch whose value lies there (an exchange may carry several).
/// `waits` are the calls that must have ended before the first instruction starts.
struct Call {
  int segment = 0;
  int microbatch = 0;  ///< of the kernels
  std::vector<int> slots;
  std::vector<int> slot_microbatch;
  std::vector<int> waits;
};

/// A tensor piece that outlives a step: what is initialised, saved and loaded.
struct StateEntry {
  std::string tensor;
  Shape shape;
  DType dtype = DType::f32;
  Box box;
  BufferId buffer;
  bool owner = true;  ///< exactly one rank owns each element of the tensor
  int version = 0;    ///< of the value when the program has ended; see Operand
};

/// A model input that the host writes before a step, one slot per microbatch. The box is that of
/// one microbatch.
struct InputEntry {
  std::string tensor;
  DType dtype = DType::i32;
  Box box;
  Shape shape;
  BufferId buffer;
};

/// What one rank runs in one step (or one evaluation), complete: the run time adds no decision.
struct Program {
  int rank = 0;
  int world_size = 1;
  int num_microbatches = 1;
  std::int64_t microbatch_size = 1;
  std::vector<Buffer> buffers;
  std::vector<int> family_slots;         ///< slots of each family
  std::vector<std::vector<int>> groups;  ///< world ranks of each group, in group order
  std::vector<Segment> segments;
  std::vector<Call> calls;
  std::vector<StateEntry> state;
  std::vector<InputEntry> inputs;
  /// The step state: f64 values at `step_state`, first the step scalars that the host writes, then
  /// the global scalars, which start at 0.
  BufferId step_state;
  std::vector<std::string> step_scalars, global_scalars;
  /// To each global scalar: how many Contributes this rank runs in all microbatches, before the
  /// world's reduction, which counts as one more write.
  std::vector<int> contributions;
  Bytes arena;  ///< size of the whole arena

  [[nodiscard]] const Buffer& buffer(BufferId id) const { return buffers.at(id.index()); }
};

/// Bytes that instruction reads and writes, as regions.
[[nodiscard]] std::vector<Region> reads(const Instruction& instruction);
[[nodiscard]] std::vector<Region> writes(const Instruction& instruction);

/// Where a region lies in the arena for a call.
struct ByteRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  friend auto operator<=>(const ByteRange&, const ByteRange&) = default;
};
[[nodiscard]] ByteRange bytes_in_arena(const Program& program, const Region& region,
                                       const Call& call);

/// What the program will execute in one step, counted from its instructions.
struct ProgramTotals {
  double flops = 0.0;
  /// Bytes that this rank sends, by kind ("all_reduce", ..., "send"), with the ring algorithm:
  /// all_reduce 2(n-1)/n of its buffer, all_gather (n-1) of its piece, reduce_scatter the pieces of
  /// the others, all_to_all what goes to others.
  std::vector<std::pair<std::string, double>> bytes_sent;
  std::vector<std::pair<std::string, std::int64_t>> counts;  ///< calls by kind
  std::vector<Bytes> memory;  ///< by MemoryClass; transient is the region all segments share
};
[[nodiscard]] ProgramTotals totals(const Program& program);
/// The same where instructions stand for several, `times`[segment][instruction]; without memory.
[[nodiscard]] ProgramTotals totals(const Program& program,
                                   const std::vector<std::vector<int>>& times);

/// Bytes sent by one instruction of the kind it is; 0 for kernels.
[[nodiscard]] double bytes_sent(const Instruction& instruction, int group_size, int group_rank);

/// Stable text form, one instruction a line, for people and golden tests.
[[nodiscard]] std::string to_text(const Program& program);

/// Orders instructions that touch common bytes: fills Instruction::waits within each segment and
/// Call::waits between calls (a compute call waits for the one before; an exchange, and what
/// follows it, wait only where bytes meet).
void set_waits(Program& program);

}  // namespace alpa
