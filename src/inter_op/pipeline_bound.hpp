#pragma once

#include "alpa/cluster/cluster_spec.hpp"

#include "drafts.hpp"

namespace alpa {

/// Whether devices of some host share fewer cores.
[[nodiscard]] bool shares_cores(const ClusterSpec& cluster);

/// Share of its time that a stage takes at the least, when every other device of its hosts waits:
/// 1 unless cores are shared.
[[nodiscard]] double least_share(const ClusterSpec& cluster, const DraftStage& stage);

/// The bound T >= max_i [sum_{j<i} t_j + B t_i] of a pipeline's makespan, with t the forward and
/// backward of a microbatch, added up stage by stage: the first microbatch reaches stage i after
/// the forwards before it, the last leaves it before their backwards. With what stages do once a
/// step, of which the longest of each kind counts.
class PipelineBound {
 public:
  explicit PipelineBound(int microbatches) : microbatches_(microbatches) {}

  /// With a stage after those so far.
  [[nodiscard]] PipelineBound with(const StageTimes& stage) const;

  /// Least step time if the stages to come take at least `rest`, by the same bound.
  [[nodiscard]] double value(double rest) const;

 private:
  int microbatches_;
  double before_ = 0.0;    ///< sum of t
  double pipeline_ = 0.0;  ///< max_i, without what comes once
  double together_ = 0.0;  ///< max_i of the same with stage i's own once-a-step work
  double prepare_ = 0.0, reduce_ = 0.0, update_ = 0.0;
};

/// Seconds that a stage takes at the least beside the way of the first microbatch behind it, there
/// and back. It holds d stashes and no more, so that before its first backward it does d forwards
/// at most: (B - d + 1) f + B b is left, of which (B - d + 1) / B w + (d - 1) b is a part.
/// @param step w, of B microbatches and what comes once a step
/// @param backward b, of a microbatch
[[nodiscard]] inline double beside_first(double step, double backward, int stashes,
                                         int microbatches) {
  return static_cast<double>(microbatches - stashes + 1) / microbatches * step +
         (stashes - 1) * backward;
}

}  // namespace alpa
