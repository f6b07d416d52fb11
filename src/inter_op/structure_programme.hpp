#pragma once

#include <vector>

#include "border_traffic.hpp"
#include "drafts.hpp"
#include "layer_tables.hpp"
#include "search_work.hpp"
#include "stage_sites.hpp"

namespace alpa {

/// A draft and what the tables say that it takes.
struct RatedDraft {
  double time = 0.0;
  Draft draft;
};

/// Cuts the layers into stages on consecutive devices for one number of microbatches and one
/// schedule: minimises sum t + max((B - 1) t + u), t a stage's forward and backward and u its work
/// once a step, with a dynamic programme over (stages left, first layer, first device) that is
/// repeated under caps on (B - 1) t + u: in small spaces all that make a difference, in large ones
/// from the least that leaves a list upwards, 2 % apart. Above 128 layers cuts lie between blocks
/// of layers, above 64 devices stages begin at every second, fourth, .. device and have sizes that
/// divide the cluster. Returns what all passes found, rated by the makespan of their tables,
/// cheapest first.
/// @param limit lists above it are of no use: few of them are looked at, at least one if there is
[[nodiscard]] std::vector<RatedDraft> rated_drafts(SearchWork& work, LayerTables& tables,
                                                   int microbatches, PipelineKind schedule,
                                                   const Sizes& sizes, double limit);

}  // namespace alpa
