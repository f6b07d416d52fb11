#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "layer_tables.hpp"

namespace alpa {

inline constexpr int kTypicalInFlight = 4;  ///< stashes that tables weigh against state

/// A choice on the hull: what it costs, and bytes at the typical depth.
struct HullPoint {
  StageAnswer answer;
  double cost = 0.0;
  double bytes = 0.0;
};

/// Tables of one mesh, made by one thread.
struct TableJob {
  PlacedMesh at;
  const MeshCosts* costs = nullptr;
  const Graph* graph = nullptr;
  const StageConstraints* constraints = nullptr;
  std::shared_ptr<const intra_op::GraphIndex> index;
  StageRecorder record;
  std::stop_token stop;
  int microbatches = 1;
  int layers = 1;
  bool tied = false;
  Bytes room;
  const StageModel* model = nullptr;
  std::unique_ptr<StageModel> made;  ///< if there was none
  std::optional<PricedQuestion> question;
  std::vector<HullPoint> hull;
  std::vector<double> prices;  ///< of a byte, at which it was solved
};

/// Finds the cheapest choice whatever its memory.
void begin(TableJob& job);

/// Whether that has room for all layers and stashes.  @pre begun
[[nodiscard]] bool is_roomy(const TableJob& job);

/// Finds the other choices that are worth looking at, side by side, of jobs that have begun or not.
void finish_all(const std::vector<std::vector<TableJob>*>& all);

}  // namespace alpa
