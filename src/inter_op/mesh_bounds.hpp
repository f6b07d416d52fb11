#pragma once

#include <functional>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"

namespace alpa {

/// Seconds that runs of layers take at the least on a mesh: sums of the layers' bounds, as far as
/// they are known, and of less where they are not.
class RunBounds {
 public:
  /// @param classes [layer] those of one class that are followed by such of one class are alike
  /// @param floor [layer] of layers before it: what is known without a look
  RunBounds(const std::vector<int>& classes, const std::vector<double>& floor);

  [[nodiscard]] double of(int first, int last) const {
    return sums_[static_cast<std::size_t>(last) + 1] - sums_[static_cast<std::size_t>(first)];
  }
  [[nodiscard]] bool are_known(int first, int last) const;
  /// Asks for the bounds of those layers that are not known.
  void know(int first, int last, const std::function<double(int layer)>& bound);

 private:
  std::vector<int> kind_of_;                  ///< [layer] number of its class and the next one's
  std::vector<double> floor_;                 ///< [layer] its own
  std::vector<std::optional<double>> known_;  ///< [kind]
  std::vector<double> sums_;                  ///< [layer] of those before it
};

/// A run of layers as a stage sees it.
struct BoundRun {
  int first = 0, last = 0;
  double stashes = 1.0;  ///< that it holds at the least, of microbatches of the bounds' size
};

/// What runs of layers take at the least on one mesh, with one number of microbatches and one
/// recomputation. For any price p of a byte a stage that must do with M bytes takes no less than
/// the sum of its layers' bounds with bytes priced, less p M (Lagrange).
class MeshBounds {
 public:
  /// @param room bytes of a device
  /// @param share of its time that a stage takes at the least
  /// @param floor as RunBounds takes it, of a step
  MeshBounds(int microbatches, double room, double share, std::vector<double> floor)
      : microbatches_(microbatches), room_(room), share_(share), floor_(std::move(floor)) {}

  [[nodiscard]] int microbatches() const { return microbatches_; }
  /// Of a whole step.
  [[nodiscard]] double step(const BoundRun& run) const;
  /// Of forward and backward of one microbatch; 0 as long as nothing is known.
  [[nodiscard]] double each(int first, int last) const {
    return each_ ? share_ * each_->of(first, last) : 0.0;
  }

  /// Who bounds layers: their classes, and the bound of one with these weights, made closer so
  /// often.
  struct Solver {
    const std::vector<int>& classes;
    std::function<double(const StageWeights&, int layer, int rounds)> bound;
  };
  /// Without memory.
  [[nodiscard]] bool is_known(int first, int last) const {
    return step_ && step_->are_known(first, last);
  }
  void look(int first, int last, const Solver& solver);
  [[nodiscard]] bool is_each_known(int first, int last) const {
    return each_ && each_->are_known(first, last);
  }
  void look_at_each(int first, int last, const Solver& solver);

  /// Searches the price of a byte that proves most of a run: the proof is concave in the price.
  /// Ends above `enough`. False if nothing is gained or that was tried before.  @pre is_known
  bool price_bytes(const BoundRun& run, double enough, const Solver& solver);
  /// Looks more closely at the price that price_bytes has found, once.
  bool refine(const BoundRun& run, const Solver& solver);

 private:
  struct Priced {
    double price = 0.0;    ///< of a byte
    double stashes = 0.0;  ///< that are counted
    RunBounds bounds;
  };
  [[nodiscard]] double proof(const Priced& priced, const BoundRun& run) const {
    return share_ * (priced.bounds.of(run.first, run.last) - priced.price * room_);
  }
  [[nodiscard]] StageWeights weights() const;
  /// A step of the stashes, others with which share what is found, and how many it counts.
  [[nodiscard]] static std::pair<int, double> step_of(double stashes);
  [[nodiscard]] Priced priced_at(const BoundRun& run, double price, const Solver& solver,
                                 int rounds) const;
  /// Keeps it if it proves more than `now`.
  void keep(Priced priced, const BoundRun& run, double now);

  int microbatches_;
  double room_, share_;
  std::vector<double> floor_;
  std::optional<RunBounds> step_, each_;
  std::vector<Priced> priced_;
  /// The best price, by first and last layer and step of the stashes; negative: not to be refined.
  std::map<std::tuple<int, int, int>, double> tried_;
};

}  // namespace alpa
