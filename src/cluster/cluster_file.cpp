#include "alpa/cluster/cluster_file.hpp"

#include <algorithm>

namespace alpa {
namespace {

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
  return kind;
}

Link link(const std::optional<LinkConfig>& config) {
  if (!config) return {{0.0}, std::numeric_limits<double>::infinity()};
  return {config->latency, config->bandwidth};
}

}  // namespace

ClusterSpec cluster_spec(const ClusterConfig& config, bool tf32) {
  ClusterSpec spec;
  spec.name = config.name;
  spec.inter_host = link(config.inter_host);
  for (const MeshAxisConfig& axis : config.mesh_axes) spec.axes.push_back({axis.alpha, axis.beta});
  for (const HostGroupConfig& group : config.hosts) {
    const DeviceKind kind = device_kind(group.device, tf32);
    const auto known = std::find(spec.kinds.begin(), spec.kinds.end(), kind);
    const auto index = static_cast<int>(known - spec.kinds.begin());
    if (known == spec.kinds.end()) spec.kinds.push_back(kind);
    const Host host{index, static_cast<int>(group.devices), link(group.intra_host)};
    spec.hosts.insert(spec.hosts.end(), static_cast<std::size_t>(group.count), host);
  }
  return spec;
}

}  // namespace alpa
