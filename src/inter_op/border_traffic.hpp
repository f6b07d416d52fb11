#pragma once

#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"

#include "drafts.hpp"

namespace alpa {

/// Bytes that cross each border between layers for one microbatch.
struct BorderTraffic {
  std::vector<Bytes> forward, backward;  ///< [layer]: into it from those before, and back
};
[[nodiscard]] BorderTraffic border_traffic(const Graph& graph, const LayerLine& line);

/// Estimate of the messages between the stages of a draft.
[[nodiscard]] std::vector<StageTransfer> estimated_transfers(const Draft& draft,
                                                             const BorderTraffic& traffic,
                                                             const ClusterSpec& cluster);

}  // namespace alpa
