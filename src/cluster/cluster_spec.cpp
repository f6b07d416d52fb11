#include "alpa/cluster/cluster_spec.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "alpa/base/error.hpp"

namespace alpa {

Bytes capacity(const DeviceKind& kind) { return kind.memory - kind.reserve; }

double product_share(const DeviceKind& kind, Flops flops) {
  const auto& table = kind.product_efficiency;
  if (table.empty()) return 1.0;
  if (flops.value <= table.front().first) return table.front().second;
  for (std::size_t i = 1; i < table.size(); ++i) {
    const auto& [low, low_share] = table[i - 1];
    const auto& [high, high_share] = table[i];
    if (flops.value > high) continue;
    const double part = std::log(flops.value / low) / std::log(high / low);
    return low_share + part * (high_share - low_share);
  }
  return table.back().second;
}

std::optional<Seconds> kernel_time(const DeviceKind& kind, DType dtype, Flops flops, Bytes moved) {
  double compute = 0.0;
  if (flops.value > 0) {
    const auto peak = std::find_if(kind.peak_flops.begin(), kind.peak_flops.end(),
                                   [&](const auto& entry) { return entry.first == dtype; });
    if (peak == kind.peak_flops.end()) return std::nullopt;
    compute = flops.value / (peak->second * product_share(kind, flops));
  }
  const double memory =
      static_cast<double>(moved.value) / (kind.memory_bandwidth * kind.memory_efficiency);
  return Seconds{std::max(compute, memory) + kind.launch.value};
}

int num_devices(const ClusterSpec& cluster) {
  int devices = 0;
  for (const Host& host : cluster.hosts) devices += host.devices;
  return devices;
}

int host_of(const ClusterSpec& cluster, int device) {
  int first = 0;
  for (std::size_t h = 0; h < cluster.hosts.size(); ++h) {
    first += cluster.hosts[h].devices;
    if (device < first) return static_cast<int>(h);
  }
  check_failed("device < num_devices(cluster)", SourceLine::here());
}

const DeviceKind& kind_of(const ClusterSpec& cluster, int device) {
  const Host& host = cluster.hosts[static_cast<std::size_t>(host_of(cluster, device))];
  return cluster.kinds.at(static_cast<std::size_t>(host.kind));
}

Link link_of_groups(const ClusterSpec& cluster, const std::vector<std::vector<int>>& groups) {
  std::vector<int> crossing(cluster.hosts.size(), 0);  // groups that leave the host
  Link slowest{{0.0}, std::numeric_limits<double>::infinity()};
  const auto include = [&](const Link& link) {
    slowest.latency = std::max(slowest.latency, link.latency);
    slowest.bandwidth = std::min(slowest.bandwidth, link.bandwidth);
  };
  for (const auto& group : groups) {
    std::vector<int> members(cluster.hosts.size(), 0);
    std::set<int> hosts;
    for (const int device : group) {
      const int host = host_of(cluster, device);
      ++members[static_cast<std::size_t>(host)];
      hosts.insert(host);
    }
    for (const int host : hosts) {
      const auto h = static_cast<std::size_t>(host);
      if (members[h] > 1) include(cluster.hosts[h].intra_host);
      if (hosts.size() > 1) ++crossing[h];
    }
  }
  for (const int count : crossing) {
    if (count > 0) include({cluster.inter_host.latency, cluster.inter_host.bandwidth / count});
  }
  return slowest;
}

Link link_between(const ClusterSpec& cluster, int from, int to) {
  const int host = host_of(cluster, from);
  if (host != host_of(cluster, to)) return cluster.inter_host;
  return cluster.hosts[static_cast<std::size_t>(host)].intra_host;
}

}  // namespace alpa
