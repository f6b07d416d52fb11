#pragma once

#include <algorithm>
#include <vector>

namespace alpa {

/// A line of layers of which a graph holds only some: of a run of layers that repeat themselves,
/// every `period`-th one like the first, it leaves out whole periods in the middle. So layers, and
/// what they are next to, are known from those that the graph holds.
///
/// Example: of the line A B B B B B B B B C, the graph A B B B B C: Run{1, 8, 1, 4, 1}; layer 5 is
/// like layer 2 of the graph, layer 8 is its layer 4.
class LayerLine {
 public:
  struct Run {
    int first = 0, count = 0;              ///< layers of the line
    int graph_first = 0, graph_count = 0;  ///< of the graph: fewer by a multiple of `period`
    int period = 1;
    [[nodiscard]] int end() const { return first + count; }
    [[nodiscard]] int graph_end() const { return graph_first + graph_count; }
    /// Layers of the graph from the run's front on, of which the last period stands for what is
    /// left out; the others are its end.
    [[nodiscard]] int graph_front() const {
      return graph_count < 3 * period ? graph_count / 2 : std::max(graph_count / 2, 2 * period);
    }
    friend bool operator==(const Run&, const Run&) = default;
  };

  /// Layers of which the graph holds all.
  explicit LayerLine(int layers) : length_(layers) {}
  /// @param runs that do not overlap, in order, of at least two periods in the graph
  LayerLine(int layers, std::vector<Run> runs) : length_(layers), runs_(std::move(runs)) {}

  [[nodiscard]] int length() const { return length_; }
  [[nodiscard]] const std::vector<Run>& runs() const { return runs_; }
  [[nodiscard]] bool is_whole() const { return runs_.empty(); }
  /// The run that a layer of the line is in; null if none.
  [[nodiscard]] const Run* run_of(int layer) const;

  /// The layer of the graph that is like a layer of the line and has neighbours like its own.
  [[nodiscard]] int like(int layer) const;
  /// The layer of the line that a layer of the graph is itself, that of runs counted from their
  /// nearer end.
  [[nodiscard]] int layer_of(int graph_layer) const;

  friend bool operator==(const LayerLine&, const LayerLine&) = default;

 private:
  int length_;
  std::vector<Run> runs_;
};

}  // namespace alpa
