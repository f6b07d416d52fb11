#pragma once

#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"

namespace alpa {

/// Bytes that layers keep wherever they lie, on all devices of a stage together: one copy of each
/// tensor that lives all step, inputs of all microbatches among them; for a microbatch in flight
/// one of each that forward makes and backward reads; and beside those what lives within forward or
/// within backward at once. The fullest device holds no less than its even share.
class LeastBytes {
 public:
  /// @param graphs of one step, of which each layer does as one
  /// @param line of layers that the graphs hold
  /// @param microbatches of a step
  /// @param whole_backward whether backward of a microbatch is one piece of work: else nothing is
  /// said of what is needed at once
  LeastBytes(const std::vector<const Graph*>& graphs, const LayerLine& line, int microbatches,
             bool whole_backward);
  /// @param state [layer]  @param stashes, transients [graph][layer]
  LeastBytes(const std::vector<double>& state, const std::vector<std::vector<double>>& stashes,
             std::vector<std::vector<double>> transients);

  /// Without what lives within a phase.
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

  /// What a stage of these layers needs at once within a phase at the least, whatever they compute
  /// again.
  [[nodiscard]] double transient(int first, int last) const;
  /// [layer] at once within a phase where all layers do as one of the graphs. A stage holds as much
  /// as the layer that holds most.
  [[nodiscard]] const std::vector<double>& transient_of(std::size_t graph) const {
    return transients_[graph];
  }

 private:
  [[nodiscard]] static double sum(const std::vector<double>& sums, int first, int last) {
    return sums[static_cast<std::size_t>(last) + 1] - sums[static_cast<std::size_t>(first)];
  }

  std::vector<double> state_, stash_;            ///< [layer] of those before it
  std::vector<std::vector<double>> stashes_;     ///< [graph] the same of each
  std::vector<std::vector<double>> transients_;  ///< [graph][layer]
  /// [k][layer] the most of the 2^k layers from it on, each with the least of its ways
  std::vector<std::vector<double>> most_transient_;
};

}  // namespace alpa
