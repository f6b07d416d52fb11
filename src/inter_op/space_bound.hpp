#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "search_work.hpp"

namespace alpa {

/// Seconds that runs of layers take at the least on a mesh: sums of the layers' bounds.
class RunBounds {
 public:
  /// @param of bound of a layer; called once for layers that look alike and are followed by such
  RunBounds(const std::vector<int>& classes, const std::function<double(int layer)>& of);

  [[nodiscard]] double of(int first, int last) const {
    return sums_[static_cast<std::size_t>(last) + 1] - sums_[static_cast<std::size_t>(first)];
  }

 private:
  std::vector<double> sums_;  ///< [layer] of those before it
};

/// A lower bound of the price of every plan of the declared space, norm left out.
///
/// A stage of layers i..j on n devices takes at least the sum of its layers' bounds, on whichever
/// mesh of n devices that is least; where it must do with memory M, for any price p of a byte, no
/// less than the same sum with bytes priced less p M (Lagrange). With t the time of a microbatch
/// and w >= B t that of the step, a pipeline takes at least max_s (sum of t of the stages before +
/// w_s): the least of that over all cuts and sizes is found by dynamic programming. Sizes begin
/// with what their kernels take at the best rate; those that the least structure uses are looked at
/// more closely, until it costs as much as the best plan, nothing is left to look at, or the work
/// is spent.
class SpaceBound {
 public:
  /// @param fills whether a stage waits for the first microbatch to pass those before it, forward
  /// and backward, as under GPipe and 1F1B; without, zero-bubble pipelines are bounded too
  explicit SpaceBound(SearchWork& work, bool fills = true);
  ~SpaceBound();

  /// @param price of the best plan without the norm: more is not proved
  [[nodiscard]] double below(double price);

 private:
  struct OfCount;
  struct OfSize;
  struct MeshBound;
  struct Stage {
    int first = 0, last = 0, size = 0, depth = 0;
  };
  [[nodiscard]] double least_structure(OfCount& of, double price, std::vector<Stage>& stages);
  [[nodiscard]] RunBounds bounds_on(const OfCount& of, const StageModel& model,
                                    const StageWeights& weights);
  void look_at_meshes(const OfCount& of, OfSize& size);
  [[nodiscard]] bool price_bytes(const OfCount& of, const Stage& stage, MeshBound& mesh);
  [[nodiscard]] bool look_closer(OfCount& of, const std::vector<Stage>& stages, double price);

  SearchWork& work_;
  bool fills_;
  int most_;  ///< layers that may be solved
  std::vector<std::unique_ptr<OfCount>> counts_;
  std::atomic<int> solved_ = 0;
};

}  // namespace alpa
