#include "alpa/cluster/mesh_costs.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/cluster/host_numbers.hpp"

namespace alpa {
namespace {

/// The axes of a bit set.
std::vector<MeshAxis> axes_of(std::size_t bits) {
  std::vector<MeshAxis> axes;
  for (MeshAxis a = 0; (bits >> a) != 0; ++a) {
    if ((bits >> a & 1U) != 0) axes.push_back(a);
  }
  return axes;
}

/// The groups along the axes, as numbered in the cluster.
std::vector<std::vector<int>> groups_along(const DeviceMesh& mesh, const std::vector<int>& devices,
                                           const std::vector<MeshAxis>& axes) {
  std::vector<std::vector<int>> groups;
  std::vector<std::size_t> group_of(devices.size());  // of a group's first member
  for (std::size_t i = 0; i < devices.size(); ++i) {
    std::size_t first = i;
    std::size_t stride = 1;
    for (std::size_t a = mesh.extents.size(); a-- > 0;) {
      const auto length = static_cast<std::size_t>(mesh.extents[a]);
      const bool along =
          std::find(axes.begin(), axes.end(), static_cast<MeshAxis>(a)) != axes.end();
      if (along) first -= i / stride % length * stride;
      stride *= length;
    }
    if (first == i) {
      group_of[i] = groups.size();
      groups.emplace_back();
    }
    groups[group_of[first]].push_back(devices[i]);
  }
  return groups;
}

/// @param host_of_device hosts_of_devices of the cluster
int most_hosts(const std::vector<int>& host_of_device,
               const std::vector<std::vector<int>>& groups) {
  std::size_t most = 0;
  std::vector<int> hosts;
  for (const auto& group : groups) {
    hosts.clear();
    for (const int device : group) {
      hosts.push_back(host_of_device[static_cast<std::size_t>(device)]);
    }
    std::sort(hosts.begin(), hosts.end());
    const auto end = std::unique(hosts.begin(), hosts.end());
    most = std::max(most, static_cast<std::size_t>(end - hosts.begin()));
  }
  return static_cast<int>(most);
}

std::string exact_text(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%a", value);
  return text.data();
}

/// An AxisCost counts the bytes that the group holds together, `ranks` times those of a device.
Seconds all_to_all_of_held(Bytes size, int ranks, const AxisCost& cost) {
  return all_to_all_time(size * ranks, ranks, cost);
}

}  // namespace

MeshCosts::MeshCosts(const ClusterSpec& cluster, std::vector<int> devices, DeviceMesh mesh)
    : cluster_(cluster), devices_(std::move(devices)), mesh_(std::move(mesh)) {
  ALPA_CHECK(devices_.size() == static_cast<std::size_t>(num_devices(mesh_)));
  capacity_ = {std::numeric_limits<std::int64_t>::max()};
  const std::vector<int> host_of_device = hosts_of_devices(cluster_);
  std::set<int> kinds;
  for (const int device : devices_) {
    const int host = host_of_device.at(static_cast<std::size_t>(device));
    kinds.insert(cluster_.hosts[static_cast<std::size_t>(host)].kind);
  }
  for (const int kind : kinds) {
    const DeviceKind& device = cluster_.kinds.at(static_cast<std::size_t>(kind));
    capacity_ = std::min(capacity_, alpa::capacity(device));
  }
  kinds_.assign(kinds.begin(), kinds.end());
  for (const int extent : mesh_.extents) key_ += std::to_string(extent) + " ";
  for (const int kind : kinds_) key_ += "kind " + std::to_string(kind) + " ";
  const std::size_t sets = std::size_t{1} << mesh_.extents.size();
  for (std::size_t bits = 0; bits < sets; ++bits) {
    const auto groups = groups_along(mesh_, devices_, axes_of(bits));
    const AxesPrice price{static_cast<int>(groups.front().size()),
                          most_hosts(host_of_device, groups), link_of_groups(cluster_, groups)};
    prices_.push_back(price);
    key_ += std::to_string(price.hosts) + " hosts " + exact_text(price.link.latency.value) + " " +
            exact_text(price.link.bandwidth) + " ";
  }
}

Seconds MeshCosts::kernel(const std::string& kind, DType dtype, Flops flops, Bytes moved) const {
  Seconds slowest{0.0};
  for (const int k : kinds_) {
    const DeviceKind& device = cluster_.kinds[static_cast<std::size_t>(k)];
    const auto time = kernel_time(device, kind, dtype, flops, moved);
    slowest = std::max(slowest, time.value_or(Seconds{std::numeric_limits<double>::infinity()}));
  }
  return slowest;
}

Seconds MeshCosts::time_of(const Formulas& formulas, Bytes size, const std::vector<MeshAxis>& axes,
                           bool keeps_size) const {
  if (!cluster_.axes.empty()) {
    Seconds total{0.0};
    for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
      const auto a = std::min(static_cast<std::size_t>(*axis), cluster_.axes.size() - 1);
      const int ranks = extent(mesh_, *axis);
      total += formulas.axis(size, ranks, cluster_.axes[a]);
      if (!keeps_size) size = {(size.value + ranks - 1) / ranks};
    }
    return total;
  }
  std::size_t bits = 0;
  for (const MeshAxis axis : axes) bits |= std::size_t{1} << axis;
  const AxesPrice& price = prices_.at(bits);
  if (price.ranks == 1) return {0.0};
  const auto measured = measured_time(cluster_, formulas.kind, price.ranks, price.hosts, size);
  return measured.value_or(formulas.ring(size, price.ranks, price.link));
}

Seconds MeshCosts::all_reduce(Bytes size, const std::vector<MeshAxis>& axes) const {
  return time_of({"all_reduce", ring_all_reduce_time, all_reduce_time}, size, axes, false);
}

Seconds MeshCosts::all_gather(Bytes size, const std::vector<MeshAxis>& axes) const {
  return time_of({"all_gather", ring_all_gather_time, all_gather_time}, size, axes, false);
}

Seconds MeshCosts::reduce_scatter(Bytes size, const std::vector<MeshAxis>& axes) const {
  return time_of({"reduce_scatter", ring_reduce_scatter_time, reduce_scatter_time}, size, axes,
                 false);
}

Seconds MeshCosts::all_to_all(Bytes size, const std::vector<MeshAxis>& axes) const {
  return time_of({"all_to_all", all_to_all_time, all_to_all_of_held}, size, axes, true);
}

}  // namespace alpa
