#pragma once

#include <vector>

namespace alpa {

/// Index of one axis of a DeviceMesh, 0 <= axis < mesh.extents.size().
using MeshAxis = int;

/// Devices arranged as an n-dimensional grid, row-major: the last axis is fastest and nearest.
struct DeviceMesh {
  std::vector<int> extents;  ///< devices along each axis, e.g. {2, 4}

  friend bool operator==(const DeviceMesh&, const DeviceMesh&) = default;
};

[[nodiscard]] int num_devices(const DeviceMesh& mesh);

[[nodiscard]] int extent(const DeviceMesh& mesh, MeshAxis axis);

/// Place of device `index` (0 .. num_devices-1): mesh {2, 4}, device 6 -> {1, 2}.
[[nodiscard]] std::vector<int> coordinates(const DeviceMesh& mesh, int index);

/// The inverse of coordinates().
[[nodiscard]] int device_at(const DeviceMesh& mesh, const std::vector<int>& coordinates);

/// The devices that differ from `index` along `axes` only, in row-major order over `axes`. These
/// are the members of a collective over those axes.
/// Example: mesh {2, 4}, device 6: axes {0} -> {2, 6}, axes {1} -> {4, 5, 6, 7}.
[[nodiscard]] std::vector<int> devices_along(const DeviceMesh& mesh, int index,
                                             const std::vector<MeshAxis>& axes);

}  // namespace alpa
