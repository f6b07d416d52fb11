#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "alpa/graph/layer_line.hpp"
#include "alpa/memory/packing.hpp"

namespace alpa {

/// Layers of a graph each of which stands for several of the line that it leaves out: of each run
/// one period, with a period at least on both sides that is like it.
class RepeatedLayers {
 public:
  explicit RepeatedLayers(const LayerLine& line);

  /// How many layers of the line a layer of the graph stands for; 1 for what is in no layer (-1).
  [[nodiscard]] int times(int layer) const;
  /// Number of the period that a layer is in; -1: it stands for itself alone.
  [[nodiscard]] int period_of(int layer) const;
  /// First and last layer of a period.
  [[nodiscard]] std::pair<int, int> layers_of(int period) const;

 private:
  struct Period {
    int first = 0, last = 0;
    int times = 1;
  };
  std::vector<Period> periods_;
};

/// The instructions of a segment of which those of repeated layers stand for several: each sweep
/// over a repeated period stands there as often as the period, one after the other.
class RepeatedSegment {
 public:
  /// @param layers [instruction] of the graph; -1: of none
  RepeatedSegment(const std::vector<int>& layers, const RepeatedLayers& repeats);

  /// Number of the sweep that an instruction is in; -1: it stands for itself alone.
  [[nodiscard]] int sweep_of(int instruction) const;
  /// How often it stands in the line's segment.
  [[nodiscard]] int times(int instruction) const;

  /// The life, in the line's segment, of one of the values that one in the graph's stands for which
  /// is used from instruction `first` to `last`. Nothing if it does not follow from it.
  [[nodiscard]] std::optional<Lifetime> lifetime(int first, int last, Bytes size, int copy) const;

 private:
  struct Sweep {
    int begin = 0, end = 0;  ///< instructions of the graph's segment
    int period = 0;
    int times = 1;
    bool down = false;  ///< from the last layer of the line to the first
    int start = 0;      ///< in the line's segment
    [[nodiscard]] int length() const { return end - begin; }
  };
  /// Place of an instruction, or of its first copy, in the line's segment.
  [[nodiscard]] int place_of(int instruction) const;

  std::vector<Sweep> sweeps_;  ///< in order
};

}  // namespace alpa
