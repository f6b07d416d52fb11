#pragma once

#include <alpa/solver/reduction.hpp>
#include <cstdint>
#include <vector>

namespace alpa {

/// Lower bounds of a core. Memory rows are priced by multipliers; what is left is bounded by
/// sequential tree-reweighted message passing: cost moves between nodes and edges so that the sum
/// of their least entries grows. The bound holds whatever the prices and however few the sweeps.
class Lagrangian {
 public:
  /// @pre core outlives this.
  explicit Lagrangian(const Core& core);

  /// Prices of memory, one per row, >= 0.
  [[nodiscard]] const std::vector<double>& prices() const { return prices_; }
  void set_prices(std::vector<double> prices);

  /// One sweep over all nodes and back. Returns the bound for the present prices.
  double sweep();

  /// The labels that the sweep back decoded; they may break rows.
  [[nodiscard]] const std::vector<int>& labels() const { return labels_; }

  /// For each option a bound on all choices that take it, after a sweep.
  [[nodiscard]] std::vector<std::vector<double>> option_bounds() const;

  /// For each edge, the pairs of options that a choice of cost at most `wanted` may take.
  [[nodiscard]] std::vector<std::vector<bool>> useful_pairs(double wanted) const;

  /// The core with costs moved between nodes and edges as the sweeps moved them, memory unpriced:
  /// every choice costs the same as before, up to rounding, and entries are far smaller.
  [[nodiscard]] Core reparametrized() const;

 private:
  struct Link {
    int edge;
    int other;
    bool first;  ///< this node is the edge's first
  };
  void pass(bool forward);
  void absorb(int i, const Link& link);
  void decode(int i, const std::vector<Link>& decided);
  /// Least of the edge's cost and the other end's share, for each option of the node; valid until
  /// it is called again.
  [[nodiscard]] const std::vector<double>& least_of_rest(const Link& link) const;
  [[nodiscard]] double bound() const;

  const Core& core_;
  std::vector<std::vector<Link>> before_;  ///< edges to nodes of smaller index
  std::vector<std::vector<Link>> after_;
  std::vector<std::vector<double>> node_costs_;    ///< what has not moved to edges
  std::vector<std::vector<double>> first_shares_;  ///< by edge: moved to it from its first node
  std::vector<std::vector<double>> second_shares_;
  std::vector<double> prices_;
  std::vector<double> least_of_edge_;  ///< least entry with its shares, when last absorbed
  bool passed_ = false;                ///< some pass was made
  std::vector<int> labels_;
  std::vector<double> decoded_;        ///< room for decode
  mutable std::vector<double> least_;  ///< room for least_of_rest
};

}  // namespace alpa
