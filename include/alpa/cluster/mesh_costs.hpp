#pragma once

#include <map>
#include <string>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/units.hpp"
#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/cluster/mesh.hpp"

namespace alpa {

/// Prices kernels and collectives on one mesh of a cluster, all its devices at work at once:
/// kernels as the slowest of its devices runs them, collectives over the links that their groups
/// really span, hosts' links shared by the groups that cross them side by side. Where the cluster
/// prices logical meshes directly (`axes`), those figures stand in place of the links. Infinite:
/// what a device cannot run. Equal meshes at different places of equal hosts have equal `key`s and
/// prices.
class MeshCosts {
 public:
  /// @param devices of the mesh in its row-major order, as numbered in the cluster
  MeshCosts(const ClusterSpec& cluster, std::vector<int> devices, DeviceMesh mesh);

  [[nodiscard]] Seconds kernel(const std::string& kind, DType dtype, Flops flops,
                               Bytes moved) const;

  /// `size`: bytes of the group's whole tensor: what a device holds before an all-reduce, a
  /// reduce-scatter or an all-to-all, and after an all-gather.
  [[nodiscard]] Seconds all_reduce(Bytes size, const std::vector<MeshAxis>& axes) const;
  [[nodiscard]] Seconds all_gather(Bytes size, const std::vector<MeshAxis>& axes) const;
  [[nodiscard]] Seconds reduce_scatter(Bytes size, const std::vector<MeshAxis>& axes) const;
  [[nodiscard]] Seconds all_to_all(Bytes size, const std::vector<MeshAxis>& axes) const;

  [[nodiscard]] const DeviceMesh& mesh() const { return mesh_; }
  [[nodiscard]] const std::vector<int>& devices() const { return devices_; }
  /// Least capacity of the devices.
  [[nodiscard]] Bytes capacity() const { return capacity_; }
  /// What decides the prices: device kinds, links, extents.
  [[nodiscard]] const std::string& key() const { return key_; }

 private:
  struct AxesPrice {  ///< of the groups along a set of axes
    int ranks = 1;
    int hosts = 1;  ///< that one group spans
    Link link;
    AxisCost axis;
    bool by_axis = false;
  };
  [[nodiscard]] const AxesPrice& price_of(const std::vector<MeshAxis>& axes) const;

  ClusterSpec cluster_;
  std::vector<int> devices_;
  DeviceMesh mesh_;
  std::vector<DeviceKind> kinds_;  ///< of its devices, each once
  Bytes capacity_{};
  std::string key_;
  std::map<std::vector<MeshAxis>, AxesPrice> prices_;
};

}  // namespace alpa
