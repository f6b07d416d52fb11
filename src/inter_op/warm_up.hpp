#pragma once

#include <optional>
#include <vector>

#include "alpa/simulate/price.hpp"

namespace alpa {

/// The time between microbatches to which 1F1B settles.
///
/// A stage s starts its next forward when it has done a backward, so a microbatch goes from s to a
/// later stage k and back in no more than warm_up[s] - warm_up[k] + 1 of them: with path(s, k) the
/// time of both ways, transfers and the stages' own work among it, no less than
///     max(max_s t_s, max_{s<k} path(s, k) / (warm_up[s] - warm_up[k] + 1)).
/// Equal stages of time t with transfers of time c each way: at depth S - s about t + 2c, from
/// 2(S - s) - 1 on t where 2c <= t.
class SteadyState {
 public:
  SteadyState(const std::vector<StageTimes>& stages, const std::vector<StageTransfer>& transfers);

  [[nodiscard]] double period(const std::vector<int>& warm_up) const;
  /// Of any depth: the slowest stage, or the slowest pair's transfers.
  [[nodiscard]] double least_period() const { return least_; }

  /// The least depths whose period is the least that depths up to `most` leave; S - s and more,
  /// non-increasing.  @pre most[s] >= S - s
  [[nodiscard]] std::vector<int> least_depths(const std::vector<int>& most) const;

 private:
  /// The least depths with that period; nothing if one is above `most`.
  [[nodiscard]] std::optional<std::vector<int>> within(double period,
                                                       const std::vector<int>& most) const;
  [[nodiscard]] double path(std::size_t s, std::size_t k) const { return paths_[s * stages_ + k]; }

  std::size_t stages_;
  std::vector<double> paths_;  ///< [s * stages + k], s < k
  double least_ = 0.0;
};

/// All warm-up depths of 1F1B that make different tables: S - s <= w[s] <= 2(S - s) - 1,
/// non-increasing, none beyond the number of microbatches unless it must be. The least first, then
/// the most, the others in lexicographic order.  Example: 3 stages, 8 microbatches: 3 2 1, 5 3 1,
/// 3 3 1, 4 2 1, 4 3 1, 5 2 1. Nothing if there are more than `limit`.
[[nodiscard]] std::optional<std::vector<std::vector<int>>> all_warm_ups(int stages,
                                                                        int microbatches,
                                                                        std::size_t limit);

/// Whether another depth than this one is worth looking at.
[[nodiscard]] bool deeper_pays(const SteadyState& steady, const std::vector<int>& warm_up);

/// Lets stage s be no deeper than `depth`, later ones neither. False if that is less than S - s.
[[nodiscard]] bool shallower(std::vector<int>& most, std::size_t s, int depth);

/// Most that may make a difference: 2(S - s) - 1, no more than B unless S - s is.
[[nodiscard]] std::vector<int> useful_warm_up(int stages, int microbatches);

}  // namespace alpa
