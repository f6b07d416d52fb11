#pragma once

#include <alpa/solver/reduction.hpp>
#include <cstdint>
#include <random>
#include <stop_token>
#include <vector>

namespace alpa {

/// Simulated annealing over a core with exact memory. A move gives one node another option and lets
/// the nodes around answer it, each with its best option, once; rows that are exceeded cost a
/// penalty that rises until the choice fits. Deterministic.
class LocalSearch {
 public:
  /// @pre core outlives this.
  explicit LocalSearch(const Core& core);

  /// Goes on from `start` for `moves` moves, from high temperature to low. `prices` of memory guide
  /// the answers.
  void anneal(const std::vector<int>& start, const std::vector<double>& prices, double temperature,
              std::int64_t moves, const std::stop_token& stop);

  [[nodiscard]] const std::vector<int>& best() const { return best_; }  ///< empty: none that fits
  [[nodiscard]] double best_cost() const { return best_cost_; }
  /// Offers a choice that may be better than the best.
  void offer(const std::vector<int>& choice);

 private:
  struct Stretch {
    std::size_t begin;
    std::size_t end;
    std::vector<std::int64_t> amounts;  ///< by option
  };
  struct Link {
    std::size_t other;
    std::vector<double> costs;  ///< row-major [this node, other]; kForbidden is forbidden_
    std::size_t columns;
  };
  struct Change {
    std::size_t node;
    int before;
  };

  /// Makes what moves need, which many who only offer do without.
  void look_at_core();
  void start_from(const std::vector<int>& choice, const std::vector<double>& prices);
  [[nodiscard]] double local_cost(std::size_t i, int option) const;
  [[nodiscard]] int best_answer(std::size_t i) const;
  void set(std::size_t i, int option);
  void move();
  void undo();
  [[nodiscard]] int below(std::size_t n) { return static_cast<int>(bits_() % n); }

  const Core& core_;
  std::vector<std::vector<Stretch>> stretches_;
  std::vector<std::vector<Link>> links_;
  std::vector<std::vector<double>> priced_;  ///< cost and priced memory of each option
  std::vector<std::size_t> free_nodes_;      ///< with more than one option
  std::vector<int> choice_;
  std::vector<std::int64_t> room_;  ///< of each row; negative: exceeded
  double cost_ = 0.0;               ///< without the constant, forbidden pairs included
  double excess_ = 0.0;             ///< sum of what exceeds the rows
  double forbidden_ = 0.0;          ///< dearer than any pair that is allowed
  std::vector<Change> changes_;
  std::vector<std::uint64_t> changed_in_;
  std::uint64_t move_number_ = 0;
  std::mt19937_64 bits_{20250101};
  std::vector<int> best_;
  double best_cost_ = kForbidden;
};

}  // namespace alpa
