#pragma once

#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"

namespace alpa {

/// Bytes that layers keep wherever they lie, on all devices of a stage together: one copy of each
/// tensor that lives all step, and for a microbatch in flight one of each that forward makes and
/// backward reads. The fullest device holds no less than its even share.
class LeastBytes {
 public:
  /// @param graphs of one step, of which each layer does as one
  /// @param line of layers that the graphs hold
  LeastBytes(const std::vector<const Graph*>& graphs, const LayerLine& line);
  /// @param state [layer]  @param stashes [graph][layer]
  LeastBytes(const std::vector<double>& state, const std::vector<std::vector<double>>& stashes);

  [[nodiscard]] double of(int first, int last, int in_flight) const {
    return sum(state_, first, last) + in_flight * sum(stash_, first, last);
  }
  /// [layer] of those before it.
  [[nodiscard]] const std::vector<double>& state() const { return state_; }
  [[nodiscard]] const std::vector<double>& stash() const { return stash_; }
  /// The same where all layers do as one of the graphs.
  [[nodiscard]] const std::vector<double>& stash_of(std::size_t graph) const {
    return stashes_[graph];
  }

 private:
  [[nodiscard]] static double sum(const std::vector<double>& sums, int first, int last) {
    return sums[static_cast<std::size_t>(last) + 1] - sums[static_cast<std::size_t>(first)];
  }

  std::vector<double> state_, stash_;         ///< [layer] of those before it
  std::vector<std::vector<double>> stashes_;  ///< [graph] the same of each
};

}  // namespace alpa
