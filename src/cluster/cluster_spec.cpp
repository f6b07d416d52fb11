#include "alpa/cluster/cluster_spec.hpp"

#include <algorithm>
#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/cluster/host_numbers.hpp"

namespace alpa {
namespace {

using Points = std::vector<std::pair<double, double>>;

/// Constant below the first point, linear between points, in proportion above the last.
double look_up(const Points& points, double work) {
  if (work <= points.front().first) return points.front().second;
  for (std::size_t i = 1; i < points.size(); ++i) {
    const auto& [low, low_time] = points[i - 1];
    const auto& [high, high_time] = points[i];
    if (work > high) continue;
    return low_time + (work - low) / (high - low) * (high_time - low_time);
  }
  return points.back().second * work / points.back().first;
}

/// A table of `table.ranks` used for another number of them (see measured_time).
double scaled_time(const CollectiveTable& table, int ranks, double size) {
  const double time = look_up(table.points, size);
  const double start = table.points.front().second;
  const double steps = (ranks - 1.0) / (table.ranks - 1.0);
  return start * steps + (time - start) * steps * table.ranks / ranks;
}

}  // namespace

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

std::optional<Seconds> kernel_time(const DeviceKind& device, const std::string& kernel, DType dtype,
                                   Flops flops, Bytes moved) {
  const auto bytes = static_cast<double>(moved.value);
  const double intensity = bytes > 0.0 ? flops.value / bytes : 0.0;
  const KernelTable* below = nullptr;  // the nearest with no more FLOPs per byte, and no fewer
  const KernelTable* above = nullptr;
  for (const KernelTable& t : device.kernels) {
    if (t.dtype != dtype || t.kernel != kernel || t.points.empty()) continue;
    const bool less = t.intensity <= intensity;
    const KernelTable*& nearest = less ? below : above;
    if (nearest == nullptr || (t.intensity > nearest->intensity) == less) nearest = &t;
  }
  const auto time = [&](const KernelTable& t) {
    return look_up(t.points, t.by_flops ? flops.value : bytes);
  };
  if (below == nullptr && above == nullptr) return kernel_time(device, dtype, flops, moved);
  if (below == nullptr) {  // moving the bytes is what takes time
    const double work = above->by_flops ? bytes * above->intensity : bytes;
    return Seconds{look_up(above->points, work)};
  }
  if (above == nullptr || below->intensity <= 0.0) return Seconds{time(*below)};
  const double part =
      std::log(intensity / below->intensity) / std::log(above->intensity / below->intensity);
  return Seconds{std::exp((1.0 - part) * std::log(time(*below)) + part * std::log(time(*above)))};
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

std::vector<int> hosts_of_devices(const ClusterSpec& cluster) {
  std::vector<int> hosts;
  for (std::size_t h = 0; h < cluster.hosts.size(); ++h) {
    hosts.insert(hosts.end(), static_cast<std::size_t>(cluster.hosts[h].devices),
                 static_cast<int>(h));
  }
  return hosts;
}

const DeviceKind& kind_of(const ClusterSpec& cluster, int device) {
  const Host& host = cluster.hosts[static_cast<std::size_t>(host_of(cluster, device))];
  return cluster.kinds.at(static_cast<std::size_t>(host.kind));
}

std::optional<Seconds> measured_time(const ClusterSpec& cluster, const std::string& kind, int ranks,
                                     int hosts, Bytes size) {
  ALPA_CHECK(ranks >= 2);
  const CollectiveTable* below = nullptr;  // the nearest with no more ranks, and with no fewer
  const CollectiveTable* above = nullptr;
  for (const CollectiveTable& table : cluster.collectives) {
    if (table.kind != kind || table.hosts != hosts || table.points.empty()) continue;
    if (table.ranks <= ranks && (below == nullptr || table.ranks > below->ranks)) below = &table;
    if (table.ranks >= ranks && (above == nullptr || table.ranks < above->ranks)) above = &table;
  }
  const auto bytes = static_cast<double>(size.value);
  if (below == nullptr && above == nullptr) return std::nullopt;
  if (below == nullptr) return Seconds{scaled_time(*above, ranks, bytes)};
  if (above == nullptr || above == below) return Seconds{scaled_time(*below, ranks, bytes)};
  const double part =
      static_cast<double>(ranks - below->ranks) / static_cast<double>(above->ranks - below->ranks);
  return Seconds{(1 - part) * look_up(below->points, bytes) + part * look_up(above->points, bytes)};
}

Link link_of_groups(const ClusterSpec& cluster, const std::vector<std::vector<int>>& groups) {
  std::vector<int> crossing(cluster.hosts.size(), 0);  // groups that leave the host
  Link slowest{{0.0}, std::numeric_limits<double>::infinity()};
  const auto include = [&](const Link& link) {
    slowest.latency = std::max(slowest.latency, link.latency);
    slowest.bandwidth = std::min(slowest.bandwidth, link.bandwidth);
  };
  const std::vector<int> host_of_device = hosts_of_devices(cluster);
  std::vector<int> members(cluster.hosts.size(), 0);
  for (const auto& group : groups) {
    std::vector<std::size_t> hosts;
    for (const int device : group) {
      const auto h = static_cast<std::size_t>(host_of_device[static_cast<std::size_t>(device)]);
      if (members[h]++ == 0) hosts.push_back(h);
    }
    for (const std::size_t h : hosts) {
      if (members[h] > 1) include(cluster.hosts[h].intra_host);
      if (hosts.size() > 1) ++crossing[h];
      members[h] = 0;
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
