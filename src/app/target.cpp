#include "target.hpp"

#include <algorithm>
#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/cluster/cluster_file.hpp"
#include "alpa/report/text.hpp"

namespace alpa {
namespace {

/// The configuration's own checks see only a cluster that it holds itself.
void check_axes(const RunConfig& config, const ClusterSpec& cluster) {
  if (cluster.axes.empty()) return;
  const ParallelConfig& parallel = config.parallel;
  if (parallel.method == Method::plan) return;
  const std::size_t given = parallel.logical_mesh ? parallel.logical_mesh->size() : 0;
  if (given == cluster.axes.size() && parallel.stages == std::optional<std::int64_t>(1)) return;
  throw UserError("cluster: it prices the " + std::to_string(cluster.axes.size()) +
                  " axes of a logical mesh (mesh_axes) and no links: give parallel.stages=1 and "
                  "parallel.logical_mesh with as many extents");
}

void check_precision(const RunConfig& config, const ClusterSpec& cluster) {
  const DType type = dtype_of(config);
  const bool any = std::any_of(
      cluster.kinds.begin(), cluster.kinds.end(),
      [&](const DeviceKind& kind) { return kernel_time(kind, type, {1.0}, {1}).has_value(); });
  if (any) return;
  throw UserError("training.precision: " + std::string(name_of(config.training.precision)) + ": " +
                  kinds_text(cluster) +
                  " cannot compute in it (no peak_flops for it); choose another precision or "
                  "cluster");
}

void add(std::string& text, double value) { text += shortest(value) + " "; }

void add(std::string& text, const Link& link) {
  add(text, link.latency.value);
  add(text, link.bandwidth);
}

void add(std::string& text, const std::vector<std::pair<double, double>>& points) {
  for (const auto& [x, y] : points) {
    add(text, x);
    add(text, y);
  }
  text += ";";
}

void add(std::string& text, const DeviceKind& kind) {
  text += kind.name + " ";
  for (const auto& [type, rate] : kind.peak_flops) {
    add(text, static_cast<double>(type));
    add(text, rate);
  }
  add(text, static_cast<double>(capacity(kind).value));
  add(text, kind.memory_bandwidth * kind.memory_efficiency);
  add(text, kind.launch.value);
  add(text, kind.product_efficiency);
  for (const KernelTable& table : kind.kernels) {
    text += table.kernel + (table.by_flops ? " flops " : " bytes ");
    add(text, static_cast<double>(table.dtype));
    add(text, table.points);
  }
  text += "\n";
}

/// To a sixteenth of the power of 2 below: free memory that changes a little changes no plan.
Bytes rounded_down(Bytes size) {
  std::int64_t unit = 1;
  while (unit <= size.value / 32) unit *= 2;
  return {size.value / unit * unit};
}

}  // namespace

DType dtype_of(const RunConfig& config) {
  switch (config.training.precision) {
    case Precision::fp64:
      return DType::f64;
    case Precision::bf16:
      return DType::bf16;
    case Precision::fp16:
      return DType::f16;
    case Precision::fp32:
    case Precision::tf32:
      break;
  }
  return DType::f32;
}

Target target_of(const RunConfig& config, const ClusterConfig& cluster) {
  ClusterSpec spec = cluster_spec(cluster, config.training.precision == Precision::tf32);
  check_axes(config, spec);
  check_precision(config, spec);
  const int ranks = num_devices(spec);
  return {ranks, std::move(spec), config.parallel.memory_limit, no_workspace};
}

Target target_here(const RunConfig& config, int ranks, std::optional<ClusterSpec> profile,
                   Bytes available, WorkspaceSize workspace) {
  Target target{ranks, std::move(profile), config.parallel.memory_limit, std::move(workspace)};
  if (!target.limit) target.limit = rounded_down(available);
  return target;
}

Bytes capacity_of(const Target& target, const StagePlan& stage) {
  if (target.limit) return *target.limit;
  Bytes least{std::numeric_limits<std::int64_t>::max()};
  if (!target.cluster) return least;
  for (const int rank : stage.ranks) {
    least = std::min(least, capacity(kind_of(*target.cluster, rank)));
  }
  return least;
}

std::uint64_t fingerprint(const ClusterSpec& cluster) {
  std::string text;
  for (const DeviceKind& kind : cluster.kinds) add(text, kind);
  for (const Host& host : cluster.hosts) {
    add(text, host.kind);
    add(text, host.devices);
    add(text, host.shared_cores);
    add(text, host.intra_host);
  }
  add(text, cluster.inter_host);
  for (const CollectiveTable& table : cluster.collectives) {
    text += table.kind + " ";
    add(text, table.ranks);
    add(text, table.hosts);
    add(text, table.points);
  }
  for (const AxisCost& axis : cluster.axes) {
    add(text, axis.alpha);
    add(text, axis.beta);
  }
  return hash_of(text);
}

std::optional<double> peak_of(const RunConfig& config, const ClusterSpec& cluster) {
  double sum = 0.0;
  for (const Host& host : cluster.hosts) {
    const auto& rates = cluster.kinds[static_cast<std::size_t>(host.kind)].peak_flops;
    const auto rate = std::find_if(rates.begin(), rates.end(), [&](const auto& entry) {
      return entry.first == dtype_of(config);
    });
    if (rate == rates.end() || !std::isfinite(rate->second)) return std::nullopt;
    sum += rate->second * host.devices;
  }
  return sum > 0.0 ? std::optional(sum) : std::nullopt;
}

std::string kinds_text(const ClusterSpec& cluster) {
  std::string text;
  for (const DeviceKind& kind : cluster.kinds) text += (text.empty() ? "" : " and ") + kind.name;
  return text;
}

std::vector<std::string> host_names(const ClusterSpec& cluster) {
  std::vector<std::string> names;
  for (std::size_t h = 0; h < cluster.hosts.size(); ++h) {
    names.insert(names.end(), static_cast<std::size_t>(cluster.hosts[h].devices),
                 "host " + std::to_string(h));
  }
  return names;
}

}  // namespace alpa
