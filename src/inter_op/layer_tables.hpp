#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "search_work.hpp"

namespace alpa {

/// One choice for the whole line of layers on a mesh, so that runs of layers are differences of
/// prefix sums. An estimate: a stage alone may choose otherwise at its ends.
class LayerTable {
 public:
  explicit LayerTable(const std::vector<StageFigures>& by_layer);

  /// Figures of layers first..last.
  [[nodiscard]] StageFigures of(int first, int last) const;

 private:
  struct Sums {
    StageTimes times;
    std::int64_t state = 0, stash = 0, reduced = 0;
  };
  std::vector<Sums> sums_;                            ///< of the layers before
  std::vector<std::vector<std::int64_t>> transient_;  ///< [first][last - first]: the largest
};

/// The tables of one mesh: cheapest first, then ever smaller (the lower convex hull of time over
/// memory, as far as it is looked at).
using MeshTables = std::vector<LayerTable>;

/// A mesh at a place.
struct PlacedMesh {
  int first_device = 0;
  DeviceMesh mesh;
};

/// Tables of meshes.
class LayerTables {
 public:
  explicit LayerTables(SearchWork& work) : work_(work) {}

  /// Makes what is missing, on several threads; what comes out does not depend on them.
  void prepare(int microbatches, const std::vector<PlacedMesh>& meshes);

  /// Empty if the mesh has no choice for some layer.  @pre prepared
  [[nodiscard]] const MeshTables& of(int microbatches, int first_device, const DeviceMesh& mesh);

 private:
  SearchWork& work_;
  std::map<std::pair<int, std::string>, MeshTables> tables_;
};

/// Larger tables of variable elimination take longer than bounds that rule options out.
inline constexpr std::int64_t kTableEntries = 1 << 17;

/// Whether identical layers of a graph are tied to identical choices.
[[nodiscard]] bool ties(const Graph& graph);

}  // namespace alpa
