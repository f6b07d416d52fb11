#pragma once

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
  /// reduce-scatter or an all-to-all, and after an all-gather. `axes`: ascending; along axes of one
  /// device nothing is paid. Measured tables come first (see measured_time), then rings over the
  /// links.
  ///
  /// Where the cluster prices mesh axes directly, axis a costs `axes[a]` of the cluster (the last
  /// one stands for those beyond), and a collective over several runs over one after the other, the
  /// last axis, which is the nearest, on the whole, each further one on the piece that remains; an
  /// all-to-all moves the whole over each.
  ///
  /// Example: all-reduce of N bytes over axes {0, 1} of a mesh {2, 4}: that of N over axis 1 plus
  /// that of N/4 over axis 0.
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
  struct AxesPrice {  ///< of the groups along a set of axes, all at work at once
    int ranks = 1;
    int hosts = 1;  ///< that one group spans
    Link link;
  };
  using RingTime = Seconds (*)(Bytes, int, const Link&);
  using AxisTime = Seconds (*)(Bytes, int, const AxisCost&);
  struct Formulas {
    const char* kind;
    RingTime ring;
    AxisTime axis;
  };
  [[nodiscard]] Seconds time_of(const Formulas& formulas, Bytes size,
                                const std::vector<MeshAxis>& axes, bool keeps_size) const;

  ClusterSpec cluster_;
  std::vector<int> devices_;
  DeviceMesh mesh_;
  std::vector<int> kinds_;  ///< of its devices, each once, as the cluster numbers them
  Bytes capacity_{};
  std::string key_;
  std::vector<AxesPrice> prices_;  ///< [bit a set: along axis a]
};

}  // namespace alpa
