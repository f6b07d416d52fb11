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
/// Each layer has some ways to compute again, each with its seconds and the bytes (LeastBytes) that
/// it keeps for a microbatch. Of runs of few layers all ways of all layers are gone through. For
/// any run and any price q >= 0 of a byte of the stash, no choice that has room for d of them takes
/// less than the sum over layers of min_way (seconds + q stash), plus q / d (state - room)
/// (Lagrange); prices are those at which layers change their minds.
class FittingBound {
 public:
  /// @param seconds [way][layer] of the layers before it; what comes once a step is the same in all
  /// @param bytes of the same ways
  FittingBound(const std::vector<std::vector<double>>& seconds, const LeastBytes& bytes);
  FittingBound(const FittingBound&) = delete;  // runs point into it
  FittingBound& operator=(const FittingBound&) = delete;
  FittingBound(FittingBound&&) = default;
  FittingBound& operator=(FittingBound&&) = default;

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
  static void keep_best(Frontier& points);
  [[nodiscard]] const Frontier& frontier(int first, int last) const;

  std::vector<double> state_, stash_;  ///< [layer] least bytes of those before it
  std::vector<Priced> priced_;         ///< ascending
  std::vector<int> kind_of_;           ///< [layer] equal for equal choices
  std::vector<Frontier> choices_;      ///< [kind]
  mutable std::map<std::vector<int>, Frontier> frontiers_;  ///< by the kinds of a run, in order
  mutable std::vector<const Frontier*> of_run_;  ///< [first, length]; null: not asked yet
};

}  // namespace alpa
