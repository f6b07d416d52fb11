#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "alpa/base/units.hpp"
#include "alpa/config/parallel_config.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// The graph of a training step for a microbatch of that many samples.
using GraphOfMicrobatch = std::function<Graph(std::int64_t microbatch)>;

/// What a plan takes: bytes that its largest device is short of, then time.
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
  /// Where set, the degrees and the microbatches of megatron that are left to `auto` are those of
  /// the least price.
  std::function<MethodPrice(const Graph& graph, const Plan& plan)> price{};
  /// Time in which no device can do so many FLOPs of products; unset: 0. Arrangements that cannot
  /// be better by it are not priced.
  std::function<Seconds(Flops)> least_time{};
};

/// @throws PlanError (configuration), naming `what`, unless so many microbatches divide the batch
///         and hold whole groups
void check_microbatches(const std::string& what, std::int64_t count, std::int64_t global_batch,
                        std::int64_t samples_of_group);

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
///   inter_only  one rank a stage, layers cut so that the largest FLOPs of a stage are least, GPipe
///   pipedream   one rank a stage, equal numbers of layers, 1F1B
///   heuristic   one stage, each parameter split along its largest dimension
///
/// `auto` microbatches: 1 without a pipeline, else the fewest that divide the batch, of at least
/// four per stage; megatron with prices: of least price, without a pipeline the fewest that fit.
/// The schedule by default: 1F1B where there are stages, except inter_only. `parallel.layouts` then
/// replaces strategies by operator name.
/// @throws PlanError (no_plan) if the model has too few layers or samples for the ranks,
///         (configuration) if degrees, mesh or stages contradict each other or the ranks
[[nodiscard]] Plan plan_by_method(const MethodRequest& request, const GraphOfMicrobatch& graph);

}  // namespace alpa
