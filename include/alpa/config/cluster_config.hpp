#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/config/value_types.hpp"

namespace alpa {

/// FLOP/s by precision; infinity for `unlimited`. Absent: the device cannot run it.
struct PeakFlops {
  std::optional<double> fp64;
  std::optional<double> fp32;
  std::optional<double> tf32;
  std::optional<double> bf16;
  std::optional<double> fp16;
  friend bool operator==(const PeakFlops&, const PeakFlops&) = default;
};

/// Matrix products of `flops` operations reach the share `share` of the peak.
struct EfficiencyPoint {
  double flops = 0.0;
  double share = 1.0;
  friend bool operator==(const EfficiencyPoint&, const EfficiencyPoint&) = default;
};

struct EfficiencyConfig {
  std::vector<EfficiencyPoint> matmul;  ///< by rising FLOPs; empty: the whole peak
  double memory = 1.0;                  ///< share of memory_bandwidth
  friend bool operator==(const EfficiencyConfig&, const EfficiencyConfig&) = default;
};

/// A measured point: FLOPs or bytes, and the seconds they take.
struct TimePoint {
  double work = 0.0;
  double seconds = 0.0;
  friend bool operator==(const TimePoint&, const TimePoint&) = default;
};

enum class WorkUnit : std::uint8_t { flops, bytes };
[[nodiscard]] std::span<const EnumName<WorkUnit>> names_of(WorkUnit);

/// Measured times of kernels of one kind, as a profile holds them.
struct KernelTableConfig {
  std::string kernel;  ///< kind: "einsum.nn", "map.gelu"
  WorkUnit over = WorkUnit::bytes;
  std::optional<double> intensity;  ///< FLOPs per byte, where one kind has several tables
  std::vector<TimePoint> points;    ///< by rising work
  friend bool operator==(const KernelTableConfig&, const KernelTableConfig&) = default;
};

/// By precision, as PeakFlops; tables of one kind side by side.
struct KernelTablesConfig {
  std::vector<KernelTableConfig> fp64, fp32, tf32, bf16, fp16;
  friend bool operator==(const KernelTablesConfig&, const KernelTablesConfig&) = default;
};

/// Measured times of collectives of one kind ("all_reduce", …, "message") over groups of one size.
struct CollectiveTableConfig {
  std::string kind;
  std::int64_t ranks = 2;
  std::int64_t hosts = 1;         ///< that a group spans
  std::vector<TimePoint> points;  ///< bytes of the whole tensor, by rising bytes and seconds
  friend bool operator==(const CollectiveTableConfig&, const CollectiveTableConfig&) = default;
};

/// A kind of device, as in configs/devices/NAME.yaml.
struct DeviceKindConfig {
  std::string name;
  PeakFlops peak_flops;
  std::optional<Bytes> memory;    ///< nullopt: unlimited
  Bytes reserve{0};               ///< of `memory`, taken by libraries
  double memory_bandwidth = 0.0;  ///< B/s; infinity for `unlimited`
  Seconds launch{0.0};            ///< of one kernel
  EfficiencyConfig efficiency;
  KernelTablesConfig kernels;  ///< measured; the figures above stand in for what is not there
  friend bool operator==(const DeviceKindConfig&, const DeviceKindConfig&) = default;
};

struct LinkConfig {
  Seconds latency{0.0};
  double bandwidth = 0.0;  ///< B/s one way; of a device inside a host, of a host between hosts
  friend bool operator==(const LinkConfig&, const LinkConfig&) = default;
};

/// `count` hosts of `devices` devices each.
struct HostGroupConfig {
  std::int64_t count = 1;
  std::int64_t devices = 1;
  DeviceKindConfig device;
  std::optional<LinkConfig> intra_host;  ///< there if devices > 1, unless mesh_axes replace it
  /// How many of the devices its cores can run at once, where they are fewer.
  std::optional<double> shared_cores;
  friend bool operator==(const HostGroupConfig&, const HostGroupConfig&) = default;
};

/// Prices one axis of a logical mesh directly: an all-reduce of N bytes over n devices takes
/// alpha + 2 beta (n-1)/n N.
struct MeshAxisConfig {
  double alpha = 0.0;
  double beta = 0.0;
  friend bool operator==(const MeshAxisConfig&, const MeshAxisConfig&) = default;
};

/// Groups in rank order; rank = host * devices + device.
struct ClusterConfig {
  std::string name;
  std::vector<HostGroupConfig> hosts;
  std::optional<LinkConfig> inter_host;   ///< there with two hosts or more, unless mesh_axes
  std::vector<MeshAxisConfig> mesh_axes;  ///< not empty: replaces the links
  std::vector<CollectiveTableConfig> collectives;  ///< measured; the links stand in for the rest
  friend bool operator==(const ClusterConfig&, const ClusterConfig&) = default;
};

/// Reads a cluster file. A device that is named is looked up as NAME.yaml in the folder `devices`
/// beside the file's folder, then in configs/devices.
/// @throws UserError with all mistakes of the file and of the device files it names
[[nodiscard]] ClusterConfig load_cluster(const std::string& path);

/// The same from text; `file` is named in messages and decides where devices are looked up.
[[nodiscard]] ClusterConfig parse_cluster(std::string_view text, const std::string& file);

/// YAML that parse_cluster reads back equal, devices written out.
[[nodiscard]] std::string print_cluster(const ClusterConfig& cluster);

}  // namespace alpa
