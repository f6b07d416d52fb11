#include "alpa/cluster/cluster_file.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

std::vector<std::pair<double, double>> pairs(const std::vector<TimePoint>& points) {
  std::vector<std::pair<double, double>> list;
  for (const TimePoint& p : points) list.emplace_back(p.work, p.seconds);
  return list;
}

std::vector<TimePoint> time_points(const std::vector<std::pair<double, double>>& points) {
  std::vector<TimePoint> list;
  for (const auto& [work, seconds] : points) list.push_back({work, seconds});
  return list;
}

/// Tables of a cluster and of its file are of one kind of value, but for the dtype's place.
std::vector<KernelTable> kernel_tables(const KernelTablesConfig& config, bool tf32) {
  std::vector<KernelTable> tables;
  const auto add = [&](DType dtype, const std::vector<KernelTableConfig>& list) {
    for (const KernelTableConfig& t : list) {
      tables.push_back(
          {t.kernel, dtype, t.over == WorkUnit::flops, t.intensity.value_or(0.0), pairs(t.points)});
    }
  };
  add(DType::f64, config.fp64);
  add(DType::f32, tf32 ? config.tf32 : config.fp32);
  add(DType::bf16, config.bf16);
  add(DType::f16, config.fp16);
  return tables;
}

KernelTablesConfig kernel_tables(const std::vector<KernelTable>& tables) {
  KernelTablesConfig config;
  for (const KernelTable& t : tables) {
    std::vector<KernelTableConfig>* list = t.dtype == DType::f64    ? &config.fp64
                                           : t.dtype == DType::f32  ? &config.fp32
                                           : t.dtype == DType::bf16 ? &config.bf16
                                                                    : &config.fp16;
    ALPA_CHECK(t.dtype != DType::i32);
    const auto intensity = t.intensity > 0.0 ? std::optional(t.intensity) : std::nullopt;
    list->push_back({t.kernel, t.by_flops ? WorkUnit::flops : WorkUnit::bytes, intensity,
                     time_points(t.points)});
  }
  return config;
}

DeviceKind device_kind(const DeviceKindConfig& config, bool tf32) {
  DeviceKind kind;
  kind.name = config.name;
  const auto add = [&](DType type, const std::optional<double>& rate) {
    if (rate) kind.peak_flops.emplace_back(type, *rate);
  };
  add(DType::f64, config.peak_flops.fp64);
  add(DType::f32, tf32 ? config.peak_flops.tf32 : config.peak_flops.fp32);
  add(DType::bf16, config.peak_flops.bf16);
  add(DType::f16, config.peak_flops.fp16);
  if (config.memory) kind.memory = *config.memory;
  kind.reserve = config.reserve;
  kind.memory_bandwidth = config.memory_bandwidth;
  kind.launch = config.launch;
  for (const EfficiencyPoint& point : config.efficiency.matmul) {
    kind.product_efficiency.emplace_back(point.flops, point.share);
  }
  kind.memory_efficiency = config.efficiency.memory;
  kind.kernels = kernel_tables(config.kernels, tf32);
  return kind;
}

DeviceKindConfig device_config(const DeviceKind& kind) {
  DeviceKindConfig config;
  config.name = kind.name;
  for (const auto& [dtype, rate] : kind.peak_flops) {
    if (dtype == DType::f64) config.peak_flops.fp64 = rate;
    if (dtype == DType::f32) config.peak_flops.fp32 = rate;
    if (dtype == DType::bf16) config.peak_flops.bf16 = rate;
    if (dtype == DType::f16) config.peak_flops.fp16 = rate;
  }
  if (kind.memory != DeviceKind{}.memory) config.memory = kind.memory;
  config.reserve = kind.reserve;
  config.memory_bandwidth = kind.memory_bandwidth;
  config.launch = kind.launch;
  for (const auto& [flops, share] : kind.product_efficiency) {
    config.efficiency.matmul.push_back({flops, share});
  }
  config.efficiency.memory = kind.memory_efficiency;
  config.kernels = kernel_tables(kind.kernels);
  return config;
}

const Link kNoLink{{0.0}, std::numeric_limits<double>::infinity()};

Link link(const std::optional<LinkConfig>& config) {
  if (!config) return kNoLink;
  return {config->latency, config->bandwidth};
}

/// A link that costs nothing is the absence of one.
std::optional<LinkConfig> link_config(const Link& link) {
  if (link == kNoLink) return std::nullopt;
  return LinkConfig{link.latency, link.bandwidth};
}

}  // namespace

ClusterSpec cluster_spec(const ClusterConfig& config, bool tf32) {
  ClusterSpec spec;
  spec.name = config.name;
  spec.inter_host = link(config.inter_host);
  for (const MeshAxisConfig& axis : config.mesh_axes) spec.axes.push_back({axis.alpha, axis.beta});
  for (const CollectiveTableConfig& t : config.collectives) {
    spec.collectives.push_back(
        {t.kind, static_cast<int>(t.ranks), static_cast<int>(t.hosts), pairs(t.points)});
  }
  for (const HostGroupConfig& group : config.hosts) {
    const DeviceKind kind = device_kind(group.device, tf32);
    const auto known = std::find(spec.kinds.begin(), spec.kinds.end(), kind);
    const auto index = static_cast<int>(known - spec.kinds.begin());
    if (known == spec.kinds.end()) spec.kinds.push_back(kind);
    const Host host{index, static_cast<int>(group.devices), link(group.intra_host),
                    group.shared_cores.value_or(0.0)};
    spec.hosts.insert(spec.hosts.end(), static_cast<std::size_t>(group.count), host);
  }
  return spec;
}

ClusterConfig cluster_config(const ClusterSpec& spec) {
  ClusterConfig config;
  config.name = spec.name;
  for (std::size_t h = 0; h < spec.hosts.size(); ++h) {
    const Host& host = spec.hosts[h];
    if (h > 0 && host == spec.hosts[h - 1]) {
      ++config.hosts.back().count;
      continue;
    }
    HostGroupConfig group;
    group.devices = host.devices;
    group.device = device_config(spec.kinds.at(static_cast<std::size_t>(host.kind)));
    group.intra_host = link_config(host.intra_host);
    if (host.shared_cores > 0.0) group.shared_cores = host.shared_cores;
    config.hosts.push_back(std::move(group));
  }
  config.inter_host = link_config(spec.inter_host);
  for (const AxisCost& axis : spec.axes) config.mesh_axes.push_back({axis.alpha, axis.beta});
  for (const CollectiveTable& t : spec.collectives) {
    config.collectives.push_back({t.kind, t.ranks, t.hosts, time_points(t.points)});
  }
  return config;
}

}  // namespace alpa
