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
/// Of that what neighbours send each other: any two stages with the border between them do.
[[nodiscard]] BorderTraffic neighbours_traffic(const Graph& graph, const LayerLine& line);

/// From a stage to the next: all links that may be used at once.
struct Lanes {
  double latency = 0.0;  ///< seconds
  double rate = 0.0;     ///< bytes a second; 0: messages are free, or nothing is known of them

  /// What the messages of one microbatch take at the least, all of which cross once.
  [[nodiscard]] double seconds(Bytes bytes) const {
    if (rate == 0.0 || bytes <= Bytes{0}) return 0.0;
    return latency + static_cast<double>(bytes.value) / rate;
  }
};
/// Behind a stage on these devices. Messages between hosts share the host's link, those inside one
/// have a link for each device.
[[nodiscard]] Lanes lanes_behind(const ClusterSpec& cluster, int first_device, int devices);

/// Estimate of the messages between the stages of a draft.
[[nodiscard]] std::vector<StageTransfer> estimated_transfers(const Draft& draft,
                                                             const BorderTraffic& traffic,
                                                             const ClusterSpec& cluster);

}  // namespace alpa
