#pragma once

#include <alpa/solver/reduction.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "edge_table.hpp"

namespace alpa {

/// The problem while it is being reduced: nodes and edges die, options go, time shrinks. Each dead
/// node leaves a step that says which option it takes, given those of at most two other nodes.
class WorkGraph {
 public:
  struct Node {
    bool alive = true;
    std::vector<double> costs;
    std::vector<int> ids;  ///< index in the problem of each option left, ascending
    std::vector<Core::Term> terms;
    std::vector<int> edges;
  };
  struct Edge {
    bool alive = true;
    int first = 0;
    int second = 0;
    EdgeTable table;
  };

  explicit WorkGraph(const Problem& problem);

  /// Applies all rules until none does anything.
  void reduce();

  [[nodiscard]] bool infeasible() const { return infeasible_; }
  [[nodiscard]] Core core(std::vector<int>& core_nodes) const;
  /// Fills in the options (ids) of dead nodes from those of live ones.
  void reconstruct(std::vector<int>& ids) const;
  void delete_options(int node, const std::vector<bool>& keep);
  /// For each live edge in order, the entries that stay allowed.
  void forbid_pairs(const std::vector<std::vector<bool>>& allowed);
  [[nodiscard]] const Node& node(int i) const { return nodes_[static_cast<std::size_t>(i)]; }

 private:
  /// Option of a dead node by the options of `first` and `second` (-1: depends on none).
  struct Step {
    int node;
    int first = -1;
    int second = -1;
    std::vector<int> first_ids = {};
    std::vector<int> second_ids = {};
    EdgeTable::Classes first_classes = {};  ///< of first_ids; empty: all different
    EdgeTable::Classes second_classes = {};
    std::size_t columns = 1;      ///< classes of second_ids
    std::vector<int> table = {};  ///< row-major over the classes of first_ids and second_ids
  };

  // work_graph.cpp
  Node& at(int i) { return nodes_[static_cast<std::size_t>(i)]; }
  Edge& edge(int e) { return edges_[static_cast<std::size_t>(e)]; }
  [[nodiscard]] const Edge& edge(int e) const { return edges_[static_cast<std::size_t>(e)]; }
  [[nodiscard]] int other_end(int e, int i) const;
  [[nodiscard]] EdgeView view(int e, int from) const {
    return {edge(e).table, edge(e).first != from};
  }
  void touch(int i);
  void touch_around(int i);
  void remove_edge(int e);
  void kill(int i, Step step);
  /// Adds a table [options of i, options of j] to the edge between i and j, made if missing.
  void add_edge(int i, int j, EdgeTable table);

  // rules.cpp
  void run_queue();
  void apply_cheap_rules(int i);
  bool prune_forbidden(int i);
  bool drop_separable_edges(int i);
  bool contract_functional_edge(int i);
  void contract(int e, int into);
  void fix(int i);
  [[nodiscard]] bool table_is_small(int i) const;
  void eliminate(int i);

  // dominance.cpp
  bool delete_dominated(int i);

  // memory_rules.cpp
  bool reduce_memory();
  void subtract_least_usages();
  bool delete_misfits();
  bool drop_slack_rows();
  bool drop_dominated_rows();
  bool keep_rows(const std::vector<bool>& keep);

  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<std::int64_t> capacities_;
  std::vector<int> row_ids_;
  std::vector<Step> steps_;
  std::vector<int> queue_;
  std::vector<bool> queued_;
  std::vector<int> waiting_;  ///< nodes whose dominance is to be checked
  std::vector<bool> waits_;
  double constant_ = 0.0;
  bool infeasible_ = false;
};

}  // namespace alpa
