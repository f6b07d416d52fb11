#pragma once

#include <map>
#include <string>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/inter_op/search.hpp"
#include "alpa/intra_op/stage_model.hpp"
#include "alpa/lowering/border.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/schedule/schedule.hpp"

#include "folded_plan.hpp"

namespace alpa {

/// A stage before its operators have chosen: layers first..last on consecutive devices.
struct DraftStage {
  int first_layer = 0;
  int last_layer = 0;
  int first_device = 0;
  DeviceMesh mesh;
  friend bool operator==(const DraftStage&, const DraftStage&) = default;
};

/// A plan before its operators have chosen.
struct Draft {
  int microbatches = 1;
  PipelineKind schedule = PipelineKind::gpipe;
  std::vector<int> warm_up;  ///< of 1F1B
  std::vector<DraftStage> stages;
  friend bool operator==(const Draft&, const Draft&) = default;
};

/// Microbatches whose stash stage s holds at once, of `stages` stages.
[[nodiscard]] int in_flight(const Draft& draft, std::size_t s);

/// Stable text of a draft, to tell drafts apart.
[[nodiscard]] std::string key_of(const Draft& draft);

/// The plan of a draft whose stages have chosen, but for the fingerprint.
[[nodiscard]] Plan assemble(const Draft& draft, const std::vector<const StageAnswer*>& answers,
                            const Graph& graph, const ClusterSpec& cluster);

/// What is computed again, by layer of the line, where stages have chosen so; empty: nothing.
[[nodiscard]] std::vector<Recompute> recompute_of(const std::vector<const StageAnswer*>& answers,
                                                  int layers);

[[nodiscard]] TableShape table_shape(const Draft& draft);

/// The draft of a plan whose stages lie on consecutive devices; its operators' choices left out.
[[nodiscard]] Draft draft_of(const Plan& plan);
/// The same, of all layers.
[[nodiscard]] Draft draft_of(const FoldedPlan& folded);

/// Sizes of the submeshes that begin at a device: any number of devices up to its host's end, whole
/// hosts if it is the first of one.  Example: 2 hosts of 4: at 0: 1 2 3 4 8; at 2: 1 2; at 4: 1 2 3
/// 4.
[[nodiscard]] std::vector<int> submesh_sizes(const ClusterSpec& cluster, int first_device);

/// [n], then [a, b] with a, b > 1; with a constraint that mesh alone, or none.
[[nodiscard]] std::vector<DeviceMesh> logical_meshes(int devices,
                                                     const std::optional<std::vector<int>>& only);

/// Divisors, ascending.
[[nodiscard]] std::vector<int> divisors(std::int64_t number);

/// Price of a draft whose stages take these times, without the norm: as `price` adds it up, but for
/// long 1F1B pipelines, whose steady state is not followed to the end.
[[nodiscard]] double modelled_price(const ClusterSpec& cluster, const Draft& draft,
                                    const std::vector<StageTimes>& stages,
                                    const std::vector<StageTransfer>& transfers);

}  // namespace alpa
