#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "alpa/base/units.hpp"

namespace alpa {

/// What each run of layers would take as one stage: layers i..k (both inclusive) on submesh m with
/// configuration c of it. Built with every candidate unavailable.
struct StageTable {
  /// @pre layers >= 1, configs >= 1, every submesh has at least one device
  StageTable(int layers, int configs, std::vector<int> submesh_devices);

  int layers;
  int configs;
  std::vector<int> submesh_devices;  ///< devices of each submesh, in any order; repeats are allowed
  /// One microbatch, forward and backward; >= 0, infinite where unavailable. At index(i, k, m, c).
  std::vector<Seconds> time;
  /// How many stages may follow this one before its memory is full; negative: it never fits.
  std::vector<int> max_successors;

  /// @pre 0 <= i <= k < layers, m and c in range
  [[nodiscard]] std::size_t index(int i, int k, int m, int c) const;
};

struct StageChoice {
  int begin = 0;  ///< first layer
  int end = 0;    ///< one past the last layer
  int submesh = 0;
  int config = 0;
  friend bool operator==(const StageChoice&, const StageChoice&) = default;
};

struct StageList {
  std::vector<StageChoice> stages{};  ///< in the order of the layers
  Seconds sum{};                      ///< of the stages' times
  Seconds max{};                      ///< the slowest stage
  Seconds objective{};
  int passes = 0;  ///< dynamic programmes that were solved
};

/// Cuts the layers into stages that use exactly `devices` devices, none followed by more stages
/// than it can bear, with the least sum + (microbatches - 1) * max. Exact: no candidate is left out
/// for being close to another. Nothing if no such list exists.
///
/// Each pass finds the least sum among the lists whose slowest stage is strictly faster than that
/// of the pass before, until that sum alone is no better than the best objective. A pass takes
/// O(layers^3 * submeshes * devices). Ties: the smaller sum, then the smaller max, then fewer
/// stages; what is equal even so is taken in the order of the table, so equal input gives equal
/// output.
/// @pre devices >= 1, microbatches >= 1, every available time is >= 0
[[nodiscard]] std::optional<StageList> best_training_stages(const StageTable& table, int devices,
                                                            std::int64_t microbatches);

/// The same for a pipeline that only infers and is always full: least (number of stages) * max. The
/// limit on successors, which is about stored activations, does not apply. Ties: fewer stages, then
/// as above; the sum is not minimised.
/// @pre devices >= 1, every available time is >= 0
[[nodiscard]] std::optional<StageList> best_inference_stages(const StageTable& table, int devices);

}  // namespace alpa
