#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace alpa {

/// Cost of what may not be chosen.
inline constexpr double kForbidden = std::numeric_limits<double>::infinity();

/// Memory that one node holds during the times [begin, end), by its option. Empty intervals hold
/// nothing.
struct Usage {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::vector<std::int64_t> amounts;  ///< one per option, >= 0
  friend bool operator==(const Usage&, const Usage&) = default;
};

/// Choose one option for each node so that the sum of the nodes' costs and the edges' costs is
/// least and the usages of the nodes alive at any time stay within the limit. Knows no tensor.
struct Problem {
  struct Node {
    std::vector<double> costs;  ///< one per option; kForbidden excludes the option
    std::vector<Usage> usages;  ///< several may overlap: they add up
    friend bool operator==(const Node&, const Node&) = default;
  };
  /// Costs of a pair of options. Parallel edges add up; an edge from a node to itself counts its
  /// diagonal.
  struct Edge {
    int first = 0;
    int second = 0;
    std::vector<double> costs;  ///< row-major [options of first, options of second], or classes
    /// By option the number of its class, whose options all cost the same, in the order in which
    /// the classes first come. Empty: each is a class.
    std::vector<std::int32_t> first_classes = {}, second_classes = {};
    friend bool operator==(const Edge&, const Edge&) = default;
  };
  std::vector<Node> nodes;
  std::vector<Edge> edges;
  std::optional<std::int64_t> usage_limit;  ///< of the sum at every time; none: unlimited
  friend bool operator==(const Problem&, const Problem&) = default;
};

/// An edge in which equal rows and equal columns of a table are held once.
/// @param costs row-major [rows, columns]
[[nodiscard]] Problem::Edge merged_edge(int first, std::size_t rows, int second,
                                        std::size_t columns, std::vector<double> costs);

/// Cost of options p and q of the nodes that an edge joins.
[[nodiscard]] double pair_cost(const Problem& problem, const Problem::Edge& edge, std::size_t p,
                               std::size_t q);

/// Refuses tables of the wrong size, ends that do not exist, costs that are NaN or -infinity,
/// negative usages and sums of usages that exceed 2^62.
/// @throws PlanError naming the node or edge
void validate(const Problem& problem);

/// Adds a cost of more than two nodes: `costs` is row-major over their options. One node is
/// appended, with an option for each allowed tuple, tied to `nodes` by edges; choices of the other
/// nodes keep their indices.
void add_hyper_edge(Problem& problem, std::span<const int> nodes, std::span<const double> costs);

/// What a choice costs, computed from the problem alone.
struct Score {
  double cost = 0.0;      ///< kForbidden if an excluded option or pair is chosen
  std::int64_t peak = 0;  ///< largest sum of usages alive at one time
  bool fits = true;       ///< peak within the limit
  /// Allowed and within the limit.
  [[nodiscard]] bool feasible() const { return fits && cost < kForbidden; }
};

/// Scores `choice`, one option index per node. Shares no code with the solver.
[[nodiscard]] Score score(const Problem& problem, std::span<const int> choice);

}  // namespace alpa
