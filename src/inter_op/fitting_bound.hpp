#pragma once

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "least_bytes.hpp"

namespace alpa {

/// Seconds that the kernels of a run of layers take at the least on devices that have room for so
/// many bytes: what has no room is computed again.
///
/// Each layer has some ways to compute again, each with its seconds, the bytes (LeastBytes) that it
/// keeps for a microbatch and those that it needs at once within a phase, of which a stage needs as
/// many as the layer that needs most. For each number of those, where only ways are left that need
/// no more: of runs of few layers all ways of all layers are gone through. For any run and any
/// price q >= 0 of a byte of the stash, no choice that has room for d of them takes less than the
/// sum over layers of min_way (seconds + q stash), plus q / d (state - room) (Lagrange); prices are
/// those at which layers change their minds.
class FittingBound {
 public:
  /// @param seconds [way][layer] of the layers before it; what comes once a step is the same in all
  /// @param bytes of the same ways
  FittingBound(const std::vector<std::vector<double>>& seconds, const LeastBytes& bytes);
  /// Of layers first..last with `in_flight` stashes. Infinite if they have no room.
  /// @param room bytes of all devices together
  [[nodiscard]] double of(int first, int last, double in_flight, double room) const;

 private:
  /// What a layer, or several, take and keep for a microbatch.
  struct Point {
    double seconds = 0.0, stash = 0.0;
  };
  /// Choices none of which is better than another in both: more seconds, smaller stash.
  using Frontier = std::vector<Point>;
  struct Priced {
    double price = 0.0;        ///< seconds a byte, of a stash
    std::vector<double> sums;  ///< [layer] of those before it
  };
  /// A layer that has this way, with what it needs at once.
  struct Way {
    Point point;
    double transient = 0.0;
  };
  static void keep_best(Frontier& points);

  /// With the ways that need no more than so much at once, counted as if they needed the least of
  /// those that tell it from the level below.
  class Level {
   public:
    /// @param least, most bytes of such ways
    /// @param ways [layer]
    Level(double least, double most, const std::vector<std::vector<Way>>& ways);
    Level(const Level&) = delete;  // runs point into it
    Level& operator=(const Level&) = delete;
    Level(Level&&) = default;
    Level& operator=(Level&&) = default;

    [[nodiscard]] double transient() const { return transient_; }
    /// Layers of a run that have a way which needs that or more.
    [[nodiscard]] int needing(int first, int last) const {
      return needing_[static_cast<std::size_t>(last) + 1] -
             needing_[static_cast<std::size_t>(first)];
    }
    /// @param left bytes of all devices for stashes
    [[nodiscard]] double of(int first, int last, double in_flight, double left) const;
    /// Wherever it has room; infinite if a layer has no way.
    [[nodiscard]] double least(int first, int last) const;

   private:
    [[nodiscard]] const Frontier& frontier(int first, int last) const;

    double transient_;
    std::vector<int> needing_;       ///< [layer] of those before it
    std::vector<int> lacking_;       ///< [layer] those before it that have no way
    std::vector<double> stash_;      ///< [layer] least bytes of those before it
    std::vector<Priced> priced_;     ///< ascending, the first for nothing
    std::vector<int> kind_of_;       ///< [layer] equal for equal choices
    std::vector<Frontier> choices_;  ///< [kind]
    mutable std::map<std::vector<int>, Frontier> frontiers_;  ///< by the kinds of a run, in order
    mutable std::vector<const Frontier*> of_run_;  ///< [first, length]; null: not asked yet
  };

  std::vector<double> state_;  ///< [layer] least bytes of those before it
  std::vector<Level> levels_;  ///< ascending
};

}  // namespace alpa
