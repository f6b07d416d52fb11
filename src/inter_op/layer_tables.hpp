#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
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
  [[nodiscard]] int layers() const { return static_cast<int>(line_->sums.size()) - 1; }

  /// Whether two layers have the same figures.
  [[nodiscard]] bool alike(int a, int b) const {
    return line_->kind[static_cast<std::size_t>(a)] == line_->kind[static_cast<std::size_t>(b)];
  }

 private:
  struct Sums {
    StageTimes times;
    std::int64_t state = 0, stash = 0, reduced = 0;
  };
  struct Line {
    std::vector<Sums> sums{1};  ///< of the layers before
    std::vector<int> run;       ///< [layer] number of its run of layers with equal transients
    /// [k][first]: the largest transient of 2^k runs from there on.
    std::vector<std::vector<std::int64_t>> transient;
    std::vector<int> kind;  ///< [layer] equal for equal figures
  };
  std::shared_ptr<const Line> line_;  ///< copies share it
};

/// A choice for all layers: its table, and what it is where it was found by tied choices.
struct LineAnswer {
  LayerTable table;
  std::vector<ChosenLayers> parts;
  std::vector<Recompute> recompute;  ///< by layer

  [[nodiscard]] bool computes_again() const {
    return std::any_of(recompute.begin(), recompute.end(),
                       [](Recompute choice) { return choice != Recompute::none; });
  }
};

/// The answers of one mesh for each recomputation: cheapest first, then ever smaller (the lower
/// convex hull of time over memory, as far as it is looked at). Of several recomputations also some
/// between, in which layers of one class compute more again than others.
using MeshTables = std::vector<LineAnswer>;

/// Cheapest first, then ever smaller.
using Chain = std::vector<const LineAnswer*>;

/// Those of one recomputation as they are; of several the lower convex hull of time over memory
/// with so many stashes.
[[nodiscard]] Chain chain_of(const MeshTables& tables, int microbatches, int stashes);

/// A run of layers that follows two neighbours of a chain.
struct Mixture {
  std::size_t small = 0;  ///< the answer of the first layers
  int large_layers = 0;   ///< at the end, that follow the answer before it
  StageFigures figures;   ///< by the tables
};

/// The cheapest answer that fits in so many bytes with so many stashes, with as many layers like
/// the answer before it as have room. Nothing if none fits.
[[nodiscard]] std::optional<Mixture> mixture_within(const Chain& chain, int first, int last,
                                                    int stashes, Bytes room);

/// The two answers of all, neighbours on a hull or not, of which the layers take least time as
/// mixture_within mixes them; or one alone. Empty if none fits.
[[nodiscard]] Chain best_pair(const MeshTables& tables, int microbatches, int first, int last,
                              int stashes, Bytes room);

/// A mesh at a place.
struct PlacedMesh {
  int first_device = 0;
  DeviceMesh mesh;
};

struct TableJob;  ///< tables of one mesh while they are made

/// Tables of meshes.
class LayerTables {
 public:
  explicit LayerTables(SearchWork& work) : work_(work) {}

  /// What is computed again, and the tables for that.
  struct Kind {
    std::vector<Recompute> recompute;
    LayerTables* tables = nullptr;
  };
  /// The tables of several kinds together.  @param kinds tables kept by reference
  LayerTables(SearchWork& work, std::vector<Kind> kinds) : work_(work), kinds_(std::move(kinds)) {}

  /// Whether layers may be computed again otherwise than others.
  [[nodiscard]] bool several_kinds() const { return !kinds_.empty(); }

  /// Makes what is missing, on several threads; what comes out does not depend on them.
  void prepare(int microbatches, const std::vector<PlacedMesh>& meshes);

  /// Empty if the mesh has no choice for some layer.  @pre prepared
  [[nodiscard]] const MeshTables& of(int microbatches, int first_device, const DeviceMesh& mesh);

 private:
  void prepare_kinds(int microbatches, const std::vector<PlacedMesh>& meshes);
  /// Adds those in which classes of layers do otherwise than others.
  void add_paths(int microbatches, const PlacedMesh& at, MeshTables& tables);
  /// Those that are missing, with what the work now computes again.
  [[nodiscard]] std::vector<TableJob> jobs_for(int microbatches,
                                               const std::vector<PlacedMesh>& meshes);
  /// What finished jobs have found.
  void take(std::vector<TableJob>& jobs);

  SearchWork& work_;
  std::vector<Kind> kinds_;
  std::map<std::pair<int, std::string>, MeshTables> tables_;
};

/// Larger tables of variable elimination take longer than bounds that rule options out.
inline constexpr std::int64_t kTableEntries = 1 << 17;

/// Work on a question whose identical layers are tied, of which there are many.
inline constexpr int kTiedSweeps = 30;
inline constexpr std::int64_t kTiedMoves = 4'000;

/// Of a line, above which identical layers are tied to identical choices.
inline constexpr std::size_t kTiedOperators = 600;

/// Whether they are, with what the search looks at now computed again.
[[nodiscard]] bool ties(SearchWork& work, int microbatches);

}  // namespace alpa
