#pragma once

#include <map>
#include <utility>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"
#include "alpa/solver/problem.hpp"

#include "account.hpp"

namespace alpa::intra_op {

/// How much of a tensor's copies in a layout each reader pays. They cost no less than any mean over
/// the readers of what these want; at first all pay the same.
class CopyShares {
 public:
  /// @param flow of a run  @param reader of the flow
  [[nodiscard]] double of(const RunView& view, std::size_t flow, std::size_t reader,
                          int layout) const;

  /// Moves shares towards the readers who want copies under a choice, by `step` of the way. False
  /// if all pay in full.
  bool lean(const RunContext& run, const std::vector<int>& choice, double step);

 private:
  std::map<std::pair<std::size_t, int>, std::vector<double>> shares_;  ///< [reader]
};

/// A relaxed problem: no choice for the layers of the run, whatever stage they are part of,
/// whatever its other layers choose, costs less than its optimum.
///
/// One node per operator and edges between makers and readers alone. A tensor's copies cost no less
/// than a mean over its readers; of a weight each reader may choose by itself whether the copy is
/// made once a step or for each use. What comes from other layers is there in any layout; what goes
/// to others costs what the cheapest layout costs that they can take. Bytes kept from forward to
/// backward are those of the source or of what backward reads, whichever are less; nothing is
/// counted that lives within a phase.
/// @param joined also of plans whose microbatches are up to kMostJoined equal parts of these
[[nodiscard]] Problem bound_problem(const RunContext& run, const Uses& uses,
                                    const StageConstraints& constraints,
                                    const StageWeights& weights, const CopyShares& shares,
                                    bool joined);

}  // namespace alpa::intra_op
