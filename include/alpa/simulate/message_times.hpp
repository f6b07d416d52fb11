#pragma once

#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/lowering/traffic.hpp"
#include "alpa/simulate/price.hpp"

namespace alpa {

/// What the messages of a plan take.
struct MessageTimes {
  std::vector<StageTransfer> transfers;  ///< of a microbatch
  Seconds once;                          ///< those of prepare, reduce and update, before the work
};

/// As `price` counts them: the devices of a host that send from one stage to another share the
/// host's link; a device's messages go one after the other; in prepare, reduce and update the pair
/// of stages that takes longest counts.
[[nodiscard]] MessageTimes message_times(const std::vector<StageMessage>& messages,
                                         const ClusterSpec& cluster);

}  // namespace alpa
