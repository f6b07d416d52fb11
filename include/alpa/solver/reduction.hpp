#pragma once

#include <alpa/solver/problem.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace alpa {

/// What is left of a problem after exact reduction. Time is compressed to rows, each with its own
/// capacity; only rows that can be exceeded are kept.
struct Core {
  /// Memory held in the rows [begin, end), by option; the least amount is 0.
  struct Term {
    int begin = 0;
    int end = 0;
    std::vector<std::int64_t> amounts;
  };
  struct Node {
    std::vector<double> costs;  ///< finite
    std::vector<Term> terms;
  };
  std::vector<Node> nodes;
  /// At most one for each pair of nodes, no loops, no classes.
  std::vector<Problem::Edge> edges;
  std::vector<std::int64_t> capacities;  ///< one per row, >= 0
  std::vector<int> row_ids;              ///< name of each row, kept by restrict_to
  double constant = 0.0;                 ///< cost of the nodes that are gone
};

/// Cost of a choice of the core, with its constant; kForbidden if it breaks a row or an edge.
[[nodiscard]] double core_cost(const Core& core, std::span<const int> choice);

/// The memory a choice of the core takes in each row.
[[nodiscard]] std::vector<std::int64_t> core_rows(const Core& core, std::span<const int> choice);

/// Exact reduction: arc consistency on forbidden pairs, contraction of functional edges, dominance,
/// min-plus elimination of nodes of degree <= 2 without memory, removal of memory that cannot bind,
/// compression of time; repeated to a fixpoint. An optimum of the core extends to an optimum of the
/// problem, of the same cost.
class Reduction {
 public:
  /// @pre validate(problem) passes. Does not keep the problem.
  explicit Reduction(const Problem& problem);
  ~Reduction();
  Reduction(Reduction&&) noexcept;
  Reduction& operator=(Reduction&&) noexcept;

  /// Proven: no choice is allowed and fits. The core is empty then.
  [[nodiscard]] bool infeasible() const;
  [[nodiscard]] const Core& core() const;

  /// Takes away options of the core (`keep[i][p]` is false) and pairs (`pairs[e]`, as the costs of
  /// edge e of the core) and reduces further; core() changes.
  void restrict_to(const std::vector<std::vector<bool>>& keep,
                   const std::vector<std::vector<bool>>& pairs);

  /// The choice of all nodes that belongs to one of the core.
  [[nodiscard]] std::vector<int> extend(std::span<const int> core_choice) const;

  /// The choice of the core nodes in `choice` of all nodes; empty if an option is gone.
  [[nodiscard]] std::vector<int> project(std::span<const int> choice) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace alpa
