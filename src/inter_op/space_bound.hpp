#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "mesh_bounds.hpp"
#include "search_work.hpp"

namespace alpa {

/// A lower bound of the price of every plan of the declared space, norm left out.
///
/// A stage of layers i..j on n devices takes at least what `MeshBounds` says of whichever mesh of n
/// devices takes least. With t the time of a microbatch, there and back between neighbours too, and
/// w >= B t that of the step, a pipeline takes at least max_s (sum of t of the stages before +
/// w_s), and of the first backward a stage waits until its microbatch has passed all behind it
/// (`beside_first`): the least of that over all cuts, sizes and stashes is found by dynamic
/// programming, for each number of microbatches. Each layer computes again what is best for it.
/// Sizes begin with what their kernels take at the best rate; of the least structure of all, stages
/// are looked at more closely, until it costs as much as the best plan, nothing is left to look at,
/// or the work is spent.
class SpaceBound {
 public:
  /// @param recomputations what layers may compute again, by layer of the line: each does as one of
  /// them, of which the first computes least again
  /// @param fills whether a stage waits for the first microbatch to pass those before it, forward
  /// and backward, as under GPipe and 1F1B; without, zero-bubble pipelines are bounded too
  SpaceBound(SearchWork& work, const std::vector<std::vector<Recompute>>& recomputations,
             bool fills = true);
  ~SpaceBound();

  /// @param price of the best plan without the norm: more is not proved
  [[nodiscard]] double below(double price);

 private:
  struct Family;
  struct OfSize;
  struct OnMesh;
  struct Stage {
    int first = 0, last = 0;
    int depth = 1;         ///< microbatches whose stash it holds at the least
    std::size_t size = 0;  ///< place among the sizes
  };
  class Leasts;
  /// Stashes that a stage may hold, and what it takes then.
  struct Depth {
    int depth = 1;
    double step = 0.0;  ///< seconds of the step
    double rest = 0.0;  ///< the same beside the first microbatch on its way behind the stage
  };
  /// Whether depths are looked at.
  [[nodiscard]] bool is_small() const;
  void choose_depths(Family& family) const;
  /// @param stages from this one on, at the most
  /// @param any_depth of 1F1B may have been asked for
  static void add_depths(const Family& family, Leasts& leasts, const Stage& stage, int stages,
                         bool any_depth, std::vector<Depth>& depths);
  void share_bounds(double price);
  [[nodiscard]] double least_structure(Family& family, double price,
                                       std::vector<Stage>& stages) const;
  /// @param bytes whether they are priced
  [[nodiscard]] MeshBounds::Solver solver_on(OnMesh& on, const MeshBounds& bounds, bool bytes);
  [[nodiscard]] bool look_at_time(const Stage& stage, OfSize& size, double price);
  [[nodiscard]] bool look_at_memory(const Stage& stage, OfSize& size, double price);
  [[nodiscard]] bool look_at_fill(const Stage& stage, OfSize& size);
  [[nodiscard]] bool look_closer(Family& family, double price);

  SearchWork& work_;
  std::vector<std::vector<Recompute>> recomputations_;
  std::vector<std::vector<bool>> has_copies_;       ///< [recomputation][layer of the line]
  std::map<int, std::optional<int>> first_prices_;  ///< by devices of a stage
  bool fills_;
  int most_;       ///< layers that may be solved
  bool together_;  ///< numbers of microbatches share bounds
  std::vector<std::unique_ptr<Family>> families_;
  std::atomic<int> solved_ = 0;
};

}  // namespace alpa
