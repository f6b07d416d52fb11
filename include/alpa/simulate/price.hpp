#pragma once

#include <optional>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/program/program.hpp"
#include "alpa/schedule/schedule.hpp"

namespace alpa {

/// What a stage takes, one device's kernels and collectives one after the other: forward and
/// backward for one microbatch, the rest once a step. Messages between stages are not part of it.
struct StageTimes {
  Seconds prepare, forward, backward, reduce, update;
  friend bool operator==(const StageTimes&, const StageTimes&) = default;
};

/// What a chunk's work takes for one microbatch.
struct ChunkTimes {
  Seconds forward;
  Seconds backward;  ///< where the table splits it: of inputs
  Seconds weights;   ///< where the table splits the backward: of parameters
  friend bool operator==(const ChunkTimes&, const ChunkTimes&) = default;
};

/// The messages of one microbatch from one chunk to another of another stage, in forward or
/// backward. With one chunk a stage chunks are numbered as stages are.
struct StageTransfer {
  int from = 0;
  int to = 0;
  bool backward = false;
  Seconds time;
};

/// Which stages share the cores of a host, so that each runs faster while others wait: times are
/// measured with all `total` devices of the host at work, each on cores / total of a core; with k
/// of them at work each runs up to min(total / cores, total / k) times faster, never faster than on
/// a whole core. A stage with devices on several hosts goes at the slowest one's pace.
struct SharedCores {
  std::vector<int> stages;   ///< with devices there
  std::vector<int> devices;  ///< of each of them there
  double cores = 0.0;
  int total = 0;  ///< devices of the host, in stages or not
};

/// Makespan of a schedule table: a piece of work begins when the stage is free, the same
/// microbatch's work on the chunk before (backward: behind) has ended and what it reads has
/// arrived. A transfer leaves when its maker has ended, one after the other on each ordered pair of
/// stages, beside the stages' work. (The programs exchange messages row by row, when both sides
/// have ended the row: transfers of 20 % of a forward make them up to 3 % slower than this under
/// 1F1B, 12 % under GPipe, none at all with two stages of GPipe.)
/// @param chunks in the order of the layers
[[nodiscard]] Seconds makespan(const Schedule& table, const std::vector<ChunkTimes>& chunks,
                               const std::vector<StageTransfer>& transfers,
                               const std::vector<SharedCores>& shared = {});

/// The same of GPipe or 1F1B.
[[nodiscard]] Seconds makespan(PipelineKind kind, const std::vector<int>& warm_up, int microbatches,
                               const std::vector<StageTimes>& stages,
                               const std::vector<StageTransfer>& transfers,
                               const std::vector<SharedCores>& shared = {});

/// The objective of DESIGN section 3, in parts.
struct PlanPrice {
  Seconds step_time;  ///< pipeline + prepare + reduce + norm + update
  Seconds pipeline;   ///< makespan of the table
  /// Of the stage that takes longest, all at work; prepare and reduce with their messages.
  Seconds prepare, reduce, norm, update;
  std::vector<StageTimes> stages;
  std::vector<ChunkTimes> chunks;    ///< in the order of the layers; those of a stage add up to its
  std::vector<Seconds> collectives;  ///< [stage] of a whole step, all in the times above
  std::vector<StageTransfer> transfers;
  std::vector<Bytes> arenas;          ///< [stage] of a step, packed, of its last device
  std::vector<ProgramTotals> totals;  ///< [stage] of that device
  double bubble = 0.0;  ///< share of the pipeline in which the stages wait, on average
};

/// Lowers the last device of every stage, whose pieces are the largest, and adds up its
/// instructions. The norm is what the world's reduction of the step takes; a cluster that prices
/// logical meshes directly has no price for it, nor for messages: they are free there.
/// @pre validate(plan, graph) passes, the cluster has plan.world_size devices
[[nodiscard]] PlanPrice price(const Graph& graph, const Plan& plan, const ClusterSpec& cluster,
                              const WorkspaceSize& workspace);

/// The price of a plan for a line of layers, of which the graph holds only some; plan and graph
/// have the same layers. Nothing where it does not follow from them (see count_steps).
/// @pre as count_steps
[[nodiscard]] std::optional<PlanPrice> price(const Graph& graph, const LayerLine& line,
                                             const Plan& plan, const ClusterSpec& cluster,
                                             const WorkspaceSize& workspace);

/// Memory of the device of a stage that needs most.
struct StageMemory {
  Bytes arena;                ///< packed
  std::vector<Bytes> memory;  ///< by MemoryClass
};

/// [stage]. Pieces are largest on the last device of each axis of a mesh; what one device does for
/// all of an axis is done by the first. So the devices at the corners are lowered. On equal arenas
/// the last device counts.  @pre validate(plan, graph) passes
[[nodiscard]] std::vector<StageMemory> stage_memory(const Graph& graph, const Plan& plan,
                                                    const WorkspaceSize& workspace);
/// The same of a line of layers, as `price` has it.
[[nodiscard]] std::optional<std::vector<StageMemory>> stage_memory(const Graph& graph,
                                                                   const LayerLine& line,
                                                                   const Plan& plan,
                                                                   const WorkspaceSize& workspace);

/// The times of one rank's step program on a mesh of its cluster.
[[nodiscard]] StageTimes stage_times(const Program& program, const ClusterSpec& cluster,
                                     const StagePlan& stage);

}  // namespace alpa
