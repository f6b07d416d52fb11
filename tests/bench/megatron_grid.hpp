#pragma once

#include <optional>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/simulate/price.hpp"

namespace alpa {

struct GridPoint {
  int data = 1, tensor = 1, pipeline = 1, microbatches = 1;
  Plan plan;
  PlanPrice price;
};

struct GridResult {
  int plans = 0;   ///< data x tensor x pipeline x microbatches that the model allows
  int priced = 0;  ///< the rest cannot be better: their products alone take longer
  int fit = 0;     ///< of those priced
  std::optional<GridPoint> best;
  std::optional<Bytes> least_missing;  ///< where none fits: on the fullest device of the nearest
};

/// The best plan that fits among all of Megatron with ZeRO-1 on all devices of the cluster: equal
/// numbers of layers a stage, 1F1B, heads, feed-forward and vocabulary over `tensor`, optimizer and
/// parameters stored split over `data` and gathered once a step.
[[nodiscard]] GridResult best_of_megatron_grid(const RunConfig& config, const ClusterSpec& cluster);

}  // namespace alpa
