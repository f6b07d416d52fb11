#pragma once

#include <vector>

#include "alpa/cluster/cluster_spec.hpp"

namespace alpa {

/// [device] the host that it is in: host_of of each, for who asks about many.
[[nodiscard]] std::vector<int> hosts_of_devices(const ClusterSpec& cluster);

}  // namespace alpa
