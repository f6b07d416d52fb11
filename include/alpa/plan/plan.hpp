#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "alpa/cluster/mesh.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/sharding/sharding_spec.hpp"
#include "alpa/sharding/strategy.hpp"

namespace alpa {

/// How long the copies live that a delivery makes of a tensor in layouts other than its source's.
enum class Retention : std::uint8_t {
  step,    ///< parameters: gathered once, in `prepare`
  keep,    ///< made in forward, kept for the backward of the same microbatch
  repeat,  ///< made in forward, and again in backward
};
[[nodiscard]] std::string to_string(Retention retention);

/// `interleaved`: several chunks a stage, chunk c of the layers' order on stage c modulo stages.
/// `zero_bubble`: backward in two halves, the second makes gradients of parameters.
enum class PipelineKind : std::uint8_t { gpipe, one_f_one_b, interleaved, zero_bubble };
[[nodiscard]] std::string to_string(PipelineKind kind);

/// The chunks of one mesh and how each of their operators runs.
struct StagePlan {
  std::vector<std::pair<int, int>> chunks;     ///< first and last layer of each
  std::vector<int> ranks;                      ///< world ranks, ascending, row-major in the mesh
  DeviceMesh mesh;                             ///< the logical mesh
  std::map<std::string, Strategy> strategies;  ///< by operator name; complete but for operators
                                               ///< that repeat another, which take that one's
  std::map<std::string, Retention> retention;  ///< by tensor name; default: step for parameters and
                                               ///< replicas, keep for the rest
  /// Layout in which a tensor of another stage arrives; default: as the first consumer here wants
  /// it, with replicated tensors cut over the mesh where a dimension allows it.
  std::map<std::string, ShardingSpec> arrivals;
  friend bool operator==(const StagePlan&, const StagePlan&) = default;
};

/// How a training step is run in parallel, as saved in plan.yaml: with graph and cluster it
/// determines every rank's program byte for byte. Idle ranks stand in no stage.
///
/// Where parameters lie follows from the strategy of their `update` operator: storage is the layout
/// it reads and writes. Where gradients add up follows from the strategy of `accumulate`: partial
/// until `reduce` (linear0), split, or whole. Data parallelism and ZeRO are such choices:
///
///                  accumulate       update        retention of parameters
///     data         linear0@0        replicated    -
///     zero1        linear0@0        d@0           step
///     zero2        d@0              d@0           step
///     zero3        d@0              d@0           repeat
struct Plan {
  std::string method;                   ///< what made it: "data", "megatron", ..., "auto"
  std::uint64_t graph_fingerprint = 0;  ///< whatever is computed again
  int world_size = 1;
  int num_microbatches = 1;
  PipelineKind schedule = PipelineKind::gpipe;
  std::vector<int> warm_up;  ///< of 1f1b, per stage
  /// What backward computes again, by layer; empty: nothing. The plan is for the graph of
  /// with_recomputation.
  std::vector<Recompute> recompute;
  std::vector<StagePlan> stages;
  friend bool operator==(const Plan&, const Plan&) = default;
};

/// Stage and place in its mesh of a world rank; {-1, -1} for an idle one.
struct Seat {
  int stage = -1;
  int index = -1;
};
[[nodiscard]] Seat seat_of(const Plan& plan, int rank);

/// Stage that holds a layer.
[[nodiscard]] int stage_of_layer(const Plan& plan, int layer);

/// Chunk that holds a layer, counted in the order of the layers.
[[nodiscard]] int chunk_of_layer(const Plan& plan, int layer);

/// The same number on every stage.  @pre validate(plan, graph) passes
[[nodiscard]] int chunks_per_stage(const Plan& plan);

[[nodiscard]] bool holds_layer(const StagePlan& stage, int layer);

/// That of the operator, or of the one that it repeats. @pre the stage has one
[[nodiscard]] const Strategy& strategy_of(const StagePlan& stage, const Graph& graph,
                                          const Operator& op);

[[nodiscard]] Retention retention_of(const StagePlan& stage, const Tensor& tensor);

/// Checks a plan against the graph it is for: what is computed again is the same, layers covered
/// once and in order, chunk by chunk round the stages, ranks distinct and in the world, every
/// operator with a strategy of its rule, in-place operands stored as they are used, 1F1B deep
/// enough.  @throws PlanError naming stage, operator, what was found and expected
void validate(const Plan& plan, const Graph& graph);

}  // namespace alpa
