#include "alpa/cluster/mesh.hpp"

#include <functional>
#include <numeric>

#include "alpa/base/error.hpp"

namespace alpa {

int num_devices(const DeviceMesh& mesh) {
  return std::reduce(mesh.extents.begin(), mesh.extents.end(), 1, std::multiplies<>{});
}

int extent(const DeviceMesh& mesh, MeshAxis axis) {
  return mesh.extents.at(static_cast<std::size_t>(axis));
}

std::vector<int> coordinates(const DeviceMesh& mesh, int index) {
  std::vector<int> place(mesh.extents.size());
  for (std::size_t a = place.size(); a-- > 0;) {
    place[a] = index % mesh.extents[a];
    index /= mesh.extents[a];
  }
  ALPA_CHECK(index == 0);
  return place;
}

int device_at(const DeviceMesh& mesh, const std::vector<int>& coordinates) {
  int index = 0;
  for (std::size_t a = 0; a < coordinates.size(); ++a) {
    index = index * mesh.extents[a] + coordinates[a];
  }
  return index;
}

std::vector<int> devices_along(const DeviceMesh& mesh, int index,
                               const std::vector<MeshAxis>& axes) {
  std::vector<int> place = coordinates(mesh, index);
  int members = 1;
  for (const MeshAxis axis : axes) members *= extent(mesh, axis);
  std::vector<int> devices;
  for (int m = 0; m < members; ++m) {
    int rest = m;
    for (std::size_t a = axes.size(); a-- > 0;) {
      const int parts = extent(mesh, axes[a]);
      place[static_cast<std::size_t>(axes[a])] = rest % parts;
      rest /= parts;
    }
    devices.push_back(device_at(mesh, place));
  }
  return devices;
}

}  // namespace alpa
