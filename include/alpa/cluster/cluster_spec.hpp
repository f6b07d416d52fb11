#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/units.hpp"
#include "alpa/cluster/collective_cost.hpp"

namespace alpa {

/// Measured times of one kind of kernel, in place of the roofline.
struct KernelTable {
  std::string kernel;  ///< kind, as `kernel_kind` names it
  DType dtype = DType::f32;
  bool by_flops = false;  ///< what `points` are over: FLOPs, else bytes read and written
  /// FLOPs per byte moved of the points, where a kind has several tables that differ in it: small
  /// where a product has a narrow side. Between two tables times are interpolated (log in both).
  /// Work too small to have so many has as many as it can. Below the smallest, time goes with the
  /// bytes. 0: whatever the work has.
  double intensity = 0.0;
  /// (work, seconds) by rising work: linear between, constant below, in proportion above.
  std::vector<std::pair<double, double>> points;
  friend bool operator==(const KernelTable&, const KernelTable&) = default;
};

/// A kind of device: what it can do at best, and which share of it kernels reach.
struct DeviceKind {
  std::string name;
  std::vector<std::pair<DType, double>> peak_flops;  ///< FLOP/s; a type that is absent cannot run
  Bytes memory{std::numeric_limits<std::int64_t>::max()};
  Bytes reserve{0};               ///< of memory, taken by libraries
  double memory_bandwidth = 1.0;  ///< bytes per second
  Seconds launch;                 ///< of one kernel
  /// (FLOPs of a product, share of the peak), by rising FLOPs; linear in log FLOPs between,
  /// constant beyond. Empty: the whole peak.
  std::vector<std::pair<double, double>> product_efficiency;
  double memory_efficiency = 1.0;
  std::vector<KernelTable> kernels;  ///< measured; what is not among them follows the roofline
  friend bool operator==(const DeviceKind&, const DeviceKind&) = default;
};

/// Bytes that a program may use.
[[nodiscard]] Bytes capacity(const DeviceKind& kind);

/// Share of the peak that a product of so many FLOPs reaches.
[[nodiscard]] double product_share(const DeviceKind& kind, Flops flops);

/// Time of a kernel of that kind: from its table, or the roofline.
[[nodiscard]] std::optional<Seconds> kernel_time(const DeviceKind& device,
                                                 const std::string& kernel, DType dtype,
                                                 Flops flops, Bytes moved);

/// Roofline: max(FLOPs / reached rate, bytes / reached bandwidth) + launch. Nothing where the
/// device has no arithmetic of the type and there are FLOPs to do.
[[nodiscard]] std::optional<Seconds> kernel_time(const DeviceKind& kind, DType dtype, Flops flops,
                                                 Bytes moved);

struct Host {
  int kind = 0;  ///< index into ClusterSpec::kinds
  int devices = 1;
  Link intra_host;  ///< between any two of its devices, per device
  /// Cores that its devices share, if fewer than devices: device times are measured with all at
  /// work, and are shorter while others wait. 0: nothing is shared.
  double shared_cores = 0.0;
  friend bool operator==(const Host&, const Host&) = default;
};

/// Measured times of one kind of collective ("all_reduce", "all_gather", "reduce_scatter",
/// "all_to_all", "message") over groups of one size, all groups of a host at work at once.
struct CollectiveTable {
  std::string kind;
  int ranks = 2;  ///< of the group
  int hosts = 1;  ///< that it spans
  /// (bytes of the whole tensor, seconds), as KernelTable::points; never falling.
  std::vector<std::pair<double, double>> points;
  friend bool operator==(const CollectiveTable&, const CollectiveTable&) = default;
};

/// Hosts with devices, in rank order: the devices of the first host come first.
struct ClusterSpec {
  std::string name;
  std::vector<DeviceKind> kinds;
  std::vector<Host> hosts;
  Link inter_host;                           ///< per host
  std::vector<CollectiveTable> collectives;  ///< measured; the links price the rest
  std::vector<AxisCost> axes;  ///< not empty: these price a logical mesh, instead of the links
  friend bool operator==(const ClusterSpec&, const ClusterSpec&) = default;
};

[[nodiscard]] int num_devices(const ClusterSpec& cluster);
/// Host of a device.  @pre 0 <= device < num_devices(cluster)
[[nodiscard]] int host_of(const ClusterSpec& cluster, int device);
[[nodiscard]] const DeviceKind& kind_of(const ClusterSpec& cluster, int device);

/// Time of a collective from the measured tables of its kind; nothing if none spans as many hosts.
/// For numbers of ranks without a table: linear between the two nearest ones; beyond them from the
/// nearest, the time of its smallest size in proportion to a ring's steps (n-1), the rest to its
/// share of the bytes, (n-1)/n.  @pre ranks >= 2
[[nodiscard]] std::optional<Seconds> measured_time(const ClusterSpec& cluster,
                                                   const std::string& kind, int ranks, int hosts,
                                                   Bytes size);

/// The slowest link of a ring over each group when all groups communicate at once. Inside a host
/// that is the device's own link; a host's link to the others is shared by the groups that cross
/// it.
///
/// Example: 2 hosts of 4 devices; groups {0,4} {1,5} {2,6} {3,7}: a quarter of the host's link
/// each.
[[nodiscard]] Link link_of_groups(const ClusterSpec& cluster,
                                  const std::vector<std::vector<int>>& groups);

/// Link of one message between two devices.
[[nodiscard]] Link link_between(const ClusterSpec& cluster, int from, int to);

}  // namespace alpa
