#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "alpa/lowering/lower.hpp"
#include "alpa/program/program.hpp"
#include "alpa/sharding/redistribution.hpp"

#include "placed_graph.hpp"
#include "versions.hpp"

namespace alpa {

/// One layout of a tensor that lies in a buffer.
struct Available {
  ShardingSpec spec;
  BufferId buffer;
  int segment = -1;     ///< that made it; -1: outlives segments (state, copies kept for a step)
  bool source = false;  ///< made or stored so; the rest are copies of deliveries
};

/// What a segment is, for the rules of what it may see.
struct SegmentInfo {
  enum class Kind { once, forward, backward, exchange } kind = Kind::once;
  int chunk = 0;
  StepPhase phase = StepPhase::forward;
  bool weights = false;  ///< of a split backward, the second half
};

/// Where a received piece lies until the consumer has put it together.
struct ArrivedPiece {
  BufferId staging;  ///< unset if it was received straight into the tensor's buffer
  Box box;
};
struct Arrival {
  const Crossing* crossing = nullptr;
  BufferId buffer;
  std::vector<ArrivedPiece> pieces;
  bool unpacked = false;
};

/// Builds the segments of one rank: keeps track of which layouts of which tensors lie where, and
/// emits the moves that make others.
class SegmentBuilder {
 public:
  SegmentBuilder(const PlacedGraph& placed, int rank, const WorkspaceSize& workspace_size);

  Program program;
  ValueVersions versions;
  std::vector<SegmentInfo> info;  ///< of each segment of `program`
  /// Layers whose operators asked for them, or have the tensor; -1: none's.
  std::vector<int> layer_of_buffer;
  std::vector<std::vector<int>> layer_of_instruction;  ///< [segment][instruction]
  int prepare_segment = -1;  ///< where copies that live a whole step are made

  int add_segment(const std::string& name, SegmentInfo what);
  BufferId add_buffer(const std::string& name, Bytes size, MemoryClass memory_class,
                      bool is_static = false);
  [[nodiscard]] bool is_static(BufferId id) const { return static_[id.index()]; }

  /// State of this stage, in graph order: parameters and optimizer states, the step state, then, if
  /// `accumulators`, gradient sums.
  void add_state(bool accumulators);

  /// Lowers an operator into the segment.
  void lower_operator(int segment, std::size_t op);

  /// The buffer that holds the tensor in the layout. A layout other than the source's is made from
  /// the source by the moves of `redistribution`, never from another copy, once in each scope: a
  /// microbatch's forward and backward together where copies are kept, each by itself where they
  /// are made again, `prepare` for what lasts the step, else the segment. An all-reduce changes the
  /// source in place where nothing else is wanted of the tensor on this stage; else a copy of it.
  BufferId want(int segment, TensorId tensor, const ShardingSpec& spec);

  void expect_arrival(Arrival arrival);
  void reduce_globals(int segment);

  [[nodiscard]] Operand operand(TensorId tensor, const ShardingSpec& spec, BufferId buffer) const;
  [[nodiscard]] Box box_of(TensorId tensor, const ShardingSpec& spec, int index) const;
  void copy_box(int segment, const Operand& from, const Operand& to, const std::string& why);

  [[nodiscard]] const StagePlan& stage() const { return *stage_; }
  [[nodiscard]] const Seat& seat() const { return seat_; }
  [[nodiscard]] const PlacedGraph& placed() const { return placed_; }

 private:
  [[nodiscard]] const Tensor& tensor(TensorId t) const { return placed_.graph->tensor(t); }
  [[nodiscard]] bool visible(const Available& value, TensorId t, int segment) const;
  [[nodiscard]] const Available* find(int segment, TensorId t, const ShardingSpec& spec) const;
  [[nodiscard]] bool wants_preparation(int segment, TensorId t) const;
  void prepare_input(int segment, TensorId t, const ShardingSpec& wanted);
  void unpack_arrival(int segment, TensorId t);
  BufferId deliver(int segment, TensorId t, const ShardingSpec& spec);
  [[nodiscard]] const Available& source_of(int segment, TensorId t, const ShardingSpec& spec) const;
  [[nodiscard]] bool is_only_demand(TensorId t, const ShardingSpec& spec) const;
  [[nodiscard]] bool may_overwrite(int segment, TensorId t, const Available& source,
                                   const ShardingSpec& spec) const;
  [[nodiscard]] bool lasts(int segment, TensorId t) const;
  BufferId apply_move(int segment, TensorId t, const Move& move, BufferId from, bool may_overwrite);
  BufferId piece_buffer(int segment, TensorId t, const ShardingSpec& spec, const std::string& what);
  void gather(int segment, TensorId t, const Move& move, BufferId from, BufferId to);
  void scatter(int segment, TensorId t, const Move& move, BufferId from, BufferId to);
  void transpose(int segment, TensorId t, const Move& move, BufferId from, BufferId to);
  Collective collective(Collective::Kind kind, const Move& move, DType dtype);
  std::vector<int> members(const Move& move) const;
  GroupId group(std::vector<int> world_ranks);
  [[nodiscard]] Operand result_operand(int segment, std::size_t op, std::size_t r);
  bool alias_copy(int segment, std::size_t op);
  [[nodiscard]] bool is_sum_of_accumulators(const Operator& op) const;
  void share_accumulators();
  bool sum_shared(int segment, std::size_t op);
  void emit_operator(int segment, std::size_t op);
  void emit(int segment, Instruction instruction);
  void contribute(int segment, const Operator& op, const ShardingSpec& spec, BufferId value);
  [[nodiscard]] Operand step_state_operand(TensorId t) const;

  const PlacedGraph& placed_;
  const WorkspaceSize& workspace_size_;
  int layer_ = -1;  ///< of the operator that is lowered
  Seat seat_;
  const StagePlan* stage_ = nullptr;
  std::vector<bool> static_;
  std::vector<std::vector<Available>> available_;  ///< [tensor]
  std::map<TensorId, Arrival> arrivals_;
  std::map<TensorId, TensorId> leader_;  ///< gradient sums that share another's buffer
  std::set<BufferId> summed_;            ///< gradient sums that have been begun
  std::map<TensorId, int> step_state_index_;
  std::map<std::vector<int>, GroupId> group_ids_;
};

}  // namespace alpa
