#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"

#include "fitting_bound.hpp"

namespace alpa {

/// Seconds that runs of layers take at the least on a mesh: sums of the layers' bounds, as far as
/// they are known, and of less where they are not.
class RunBounds {
 public:
  /// What is known of a layer with the same weights.
  struct Known {
    double bound = 0.0;        ///< the least of all ways
    std::vector<double> ways;  ///< bounds by way
    std::vector<bool> solved;  ///< by way: more than from other weights
    int rounds = -1;           ///< in which the least was made closer; negative: nothing is known
  };

  /// @param classes [layer] those of one class that are followed by such of one class are alike
  /// @param floor [layer] of layers before it: what is known without a look
  RunBounds(const std::vector<int>& classes, const std::vector<double>& floor);

  /// Infinite if one of them has no choice.
  [[nodiscard]] double of(int first, int last) const {
    const auto begin = static_cast<std::size_t>(first), end = static_cast<std::size_t>(last) + 1;
    if (forbidden_[end] > forbidden_[begin]) return std::numeric_limits<double>::infinity();
    return sums_[end] - sums_[begin];
  }
  [[nodiscard]] bool are_known(int first, int last) const;
  /// Asks about those layers whose bounds were not made closer so often, of the kind first of which
  /// there are most, until the run is known to take as long as `enough`.
  void know(int first, int last, int rounds, double enough,
            const std::function<void(int layer, int kind, Known& known)>& ask);

 private:
  std::vector<int> kind_of_;    ///< [layer] number of its class and the next one's
  std::vector<double> floor_;   ///< [layer] its own
  std::vector<Known> known_;    ///< [kind]
  std::vector<double> sums_;    ///< [layer] of those before it that have a choice
  std::vector<int> forbidden_;  ///< [layer] how many before it have none
};

/// A run of layers as a stage sees it.
struct BoundRun {
  int first = 0, last = 0;
  double stashes = 1.0;  ///< that it holds at the least, of microbatches of the bounds' size
};

/// What is known of layers without a look, on so many devices.
struct LayerFloors {
  /// [way to compute again][layer] seconds of the layers before it, as RunBounds takes them
  std::vector<std::vector<double>> seconds;
  std::shared_ptr<const LeastBytes> bytes;  ///< of the same ways
};

/// What runs of layers take at the least on one mesh, with one number of microbatches. For any
/// price p of a byte a stage that must do with M bytes takes no less than the sum of its layers'
/// bounds with bytes priced, less p M (Lagrange).
class MeshBounds {
 public:
  /// @param room bytes of a device
  /// @param share of its time that a stage takes at the least
  /// @param floors of a step
  MeshBounds(int microbatches, int devices, double room, double share,
             std::shared_ptr<const LayerFloors> floors)
      : microbatches_(microbatches),
        devices_(devices),
        room_(room),
        share_(share),
        floors_(std::move(floors)) {}

  [[nodiscard]] int microbatches() const { return microbatches_; }
  /// How often it was looked more closely: bounds stay as they are between.
  [[nodiscard]] std::int64_t looks() const { return looks_; }
  /// Of a whole step.
  [[nodiscard]] double step(const BoundRun& run) const;
  /// Of forward and backward of one microbatch; 0 as long as nothing is known.
  [[nodiscard]] double each(int first, int last) const {
    return each_ ? share_ * each_->of(first, last) : 0.0;
  }

  /// Who bounds layers: their classes, in how many ways each may compute again what it needs in
  /// backward, the first of which takes least if bytes cost nothing, and the bound of a layer in
  /// one of them, with hints from those before it.
  struct Solver {
    const std::vector<int>& classes;
    std::size_t ways = 1;
    std::function<double(const StageWeights&, int layer, std::size_t way, BoundHints&)> bound;
    /// Whether a layer has that way, too; the first it always has.
    std::function<bool(int layer, std::size_t way)> has_way;
    /// Step of the price of bytes that proved most elsewhere, for what is asked next.
    std::optional<int>* first_price = nullptr;
  };
  /// Without memory.
  [[nodiscard]] bool is_known(int first, int last) const {
    return !free_.empty() && free_.front().are_known(first, last);
  }
  /// Some layers, if that is enough to know that the run takes as long as `enough`.
  void look(int first, int last, double enough, const Solver& solver);
  /// The same for what is computed again where there is no room, as long as the run may take less
  /// than `enough`. True if something was asked.
  /// @pre is_known
  bool look_at_ways(const BoundRun& run, double enough, const Solver& solver);
  [[nodiscard]] bool is_each_known(int first, int last) const {
    return each_ && each_->are_known(first, last);
  }
  void look_at_each(int first, int last, const Solver& solver);

  /// Searches the price of a byte that proves most of a run: the proof is concave in the price.
  /// Prices are of one grid, on which runs share what they ask. Ends above `enough`, to go on with
  /// more where that is asked for. False if nothing is gained or that was tried before.
  /// @pre is_known
  bool price_bytes(const BoundRun& run, double enough, const Solver& solver);
  /// Looks more closely at the price that price_bytes has found, once.
  bool refine(const BoundRun& run, double enough, const Solver& solver);

 private:
  /// With a price of a byte.
  struct Priced {
    double price = 0.0;
    double stashes = 0.0;  ///< that are counted
    RunBounds bounds;
  };
  using Point = std::pair<int, int>;  ///< step of the stashes, step of the price
  /// Of a kind of layer, by way.
  struct LayerHints {
    std::vector<BoundHints> ways;
    struct Seen {
      double state_byte = 0.0, stash_byte = 0.0;  ///< prices
      std::size_t way = 0;
      double bound = 0.0;
    };
    std::vector<Seen> seen;  ///< of a step
  };
  using Hints = std::map<int, LayerHints>;  ///< by kind of layer

  /// Bytes of a device less what it needs at once within a phase.
  [[nodiscard]] double room_of(const BoundRun& run) const {
    return room_ - floors_->bytes->transient(run.first, run.last) / devices_;
  }
  [[nodiscard]] double proof(const Priced& priced, const BoundRun& run) const {
    return share_ * (priced.bounds.of(run.first, run.last) - priced.price * room_of(run));
  }
  [[nodiscard]] StageWeights weights(double price = 0.0, double stashes = 0.0) const;
  /// The steps of the stashes next to so many, below and above.
  [[nodiscard]] static std::array<int, 2> steps_of(double stashes);
  [[nodiscard]] static double stashes_of(int step);
  [[nodiscard]] double price_of(int step) const;
  Priced& at(const Point& point, const Solver& solver);
  void know(Priced& priced, const BoundRun& run, int rounds, double enough, const Solver& solver,
            Hints& hints) const;
  /// Counts a point from now on if it proves more than others of so many stashes.
  void count(const Point& point, const BoundRun& run);
  void price_bytes(int stashes, const BoundRun& run, double enough, const Solver& solver);

  /// Asks for bounds without memory in one way.
  bool know_way(std::size_t way, const BoundRun& run, double enough, const Solver& solver);
  [[nodiscard]] const std::vector<double>& floor() const { return floors_->seconds.front(); }

  int microbatches_, devices_;
  std::int64_t looks_ = 0;
  double room_, share_;
  std::shared_ptr<const LayerFloors> floors_;
  std::vector<RunBounds> free_;          ///< [way] of a step; empty: nothing is known
  std::optional<FittingBound> fitting_;  ///< of them, where ways are known
  std::optional<RunBounds> each_;
  Hints hints_;
  std::map<Point, Priced> points_;      ///< all that were asked
  std::vector<const Priced*> counted_;  ///< those of them that prove most of a run
  std::map<int, int> best_;             ///< by step of the stashes: of the price, last found
  /// The best step of the price, by first and last layer and step of the stashes; none: not to be
  /// refined.
  std::map<std::tuple<int, int, int>, std::optional<int>> tried_;
};

}  // namespace alpa
