#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "alpa/base/units.hpp"
#include "alpa/config/parallel_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// The graph of a training step for a microbatch of that many samples.
using GraphOfMicrobatch = std::function<Graph(std::int64_t microbatch)>;

/// What a plan takes: bytes that its largest device is short of, then time (0 where the devices'
/// speed is not known).
struct MethodPrice {
  Bytes missing;
  Seconds step_time;
  friend auto operator<=>(const MethodPrice&, const MethodPrice&) = default;
};

/// What a plan by hand is made for.
struct MethodRequest {
  ParallelConfig parallel;
  int world_size = 1;
  std::int64_t global_batch = 1;
  std::int64_t samples_of_group = 1;  ///< microbatches hold a multiple of so many
  /// Where set, the microbatches, and the degrees of megatron, that are left to `auto` are those of
  /// the least price. Called for the plan that is returned, if any fits what is given.
  std::function<MethodPrice(const Graph& graph, const Plan& plan)> price{};
  /// Time in which no device can do so many FLOPs of products; unset: 0. Arrangements that cannot
  /// be better by it are not priced.
  std::function<Seconds(Flops)> least_time{};
  /// Where set, graphs hold only some layers of this line. Plans are then about layers of the line,
  /// every stage with strategies for all operators of the graph: for `price` alone, which knows
  /// what is like what. No layouts then.
  std::optional<LayerLine> line{};
};

/// The graph in which backward computes again what `parallel.recompute` says; auto: as it is.
/// @throws PlanError (configuration) for attention in a model that has none
[[nodiscard]] Graph recomputing(Graph graph, std::optional<Recompute> everywhere);

/// @throws PlanError (configuration), naming `what`, unless so many microbatches divide the batch
///         and hold whole groups
void check_microbatches(const std::string& what, std::int64_t count, std::int64_t global_batch,
                        std::int64_t samples_of_group);

/// What parallel.schedule fixes, or parallel.warm_up, which only 1F1B has; nothing for auto.
[[nodiscard]] std::optional<PipelineKind> schedule_of(const ParallelConfig& parallel);

/// parallel.warm_up for a number of stages.
/// @throws PlanError (configuration) if the list is not one of them
[[nodiscard]] std::vector<int> warm_up_of(const WarmUpDepth& depth, int stages);

/// The plan of a method of DESIGN section 4, without a search:
///
///   data        one stage, the batch split over all ranks, gradients summed once a step
///   zero1       data, with parameters and optimizer stored split, gathered once a step
///   zero2       zero1, with gradients kept split
///   zero3       zero2, with parameters gathered for each use
///   megatron    data x tensor x pipeline: heads, feed-forward and vocabulary split over `tensor`;
///               equal numbers of layers a stage. Degrees left to `auto`: of least price among all
///               that make the ranks; without prices pipeline 1, tensor 1, data what remains
///   intra_only  one stage: data x tensor with tensor the largest power of 2 up to sqrt(ranks)
///   inter_only  one rank a stage, layers cut so that the largest FLOPs of a stage are least
///   pipedream   one rank a stage, equal numbers of layers
///   heuristic   one stage, each parameter split along its largest dimension
///
/// `auto` microbatches, without prices: 1 without a pipeline, else the fewest that divide the
/// batch, of at least four per stage. With prices: from those on, the fewest that fit; in a
/// pipeline more or fewer as long as the price falls. 1F1B wherever there are several microbatches,
/// unless `parallel.schedule` says GPipe: it takes no longer and holds one stash a stage behind,
/// not one a microbatch, or as many as `parallel.warm_up` says; or zero-bubble, or interleaved:
/// layers are then cut into `parallel.chunks_per_stage` times as many chunks as there are stages,
/// dealt out in turn. `parallel.recompute` counts for every layer; auto: what `graph` says, as a
/// rule nothing. `parallel.layouts` then replaces strategies by operator name.
/// @throws PlanError (no_plan) if the model has too few layers or samples for the ranks,
///         (configuration) if degrees, mesh, stages or schedule contradict each other or the ranks
[[nodiscard]] Plan plan_by_method(const MethodRequest& request, const GraphOfMicrobatch& graph);

}  // namespace alpa
