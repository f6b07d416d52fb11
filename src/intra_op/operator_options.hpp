#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/sharding/strategy.hpp"

#include "graph_index.hpp"
#include "layout_table.hpp"

namespace alpa::intra_op {

/// One strategy of an operator, with numbered layouts and the time of its kernel as it is lowered
/// for the last device.
struct Option {
  Strategy strategy;
  std::vector<int> operands, results;  ///< layouts, in the tables of the tensors' classes
  double seconds = 0.0;
  /// Of a sum in `reduce`: with that many operands. One operand needs no kernel.
  std::vector<double> sum_seconds;
};

using Options = std::vector<Option>;

/// Lists of options that models of several graphs and meshes have in common, as long as one of them
/// holds them. Threads may ask at once.
class OptionLists {
 public:
  /// @param mesh MeshCosts::key  @param op GraphIndex::key_of_list  @param make if there is none
  [[nodiscard]] std::shared_ptr<const Options> of(const std::string& mesh, const std::string& op,
                                                  const std::function<Options()>& make);

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::weak_ptr<const Options>> lists_;
};

/// Layouts and options of the operators of a graph on a mesh. Operators of equal kernels, shapes
/// and choices share a list.
class OperatorOptions {
 public:
  /// @param graph, index, costs kept by reference
  OperatorOptions(const Graph& graph, const GraphIndex& index, const MeshCosts& costs);

  /// Fills options(): every strategy of the rule. Strategies that give equal layouts are one
  /// option.
  void add(std::size_t op);
  /// The same for those of `chosen`.
  void add(std::size_t op, const std::vector<Strategy>& chosen);

  [[nodiscard]] const Options& options(std::size_t op) const { return *of_op_[op]; }
  /// The option of a strategy of the rule, whether it stands among options() or not.
  /// @throws PlanError if it is not one of the rule's
  [[nodiscard]] Option option(std::size_t op, const Strategy& strategy) const;
  [[nodiscard]] LayoutTable& layouts(TensorId tensor) const {
    return *tables_[static_cast<std::size_t>(layout_class(tensor))];
  }
  /// Tensors of one shape and dtype are of one class.
  [[nodiscard]] int layout_class(TensorId tensor) const {
    return index_.tensor_class[tensor.index()];
  }
  [[nodiscard]] const MeshCosts& costs() const { return costs_; }

 private:
  /// @param kind of the operator's kernel
  [[nodiscard]] Option make(const Operator& op, const std::string& kind, const Strategy& strategy,
                            const OperatorLayout& layout) const;
  [[nodiscard]] Options options_of(const Operator& op,
                                   const std::vector<Strategy>& strategies) const;
  [[nodiscard]] std::vector<Strategy> splitting_strategies(const ShardingRule& rule) const;
  [[nodiscard]] double kernel_seconds(const Operator& op, const std::string& kind,
                                      const OperatorLayout& layout, std::size_t operands) const;

  const Graph& graph_;
  const GraphIndex& index_;
  const MeshCosts& costs_;
  std::vector<LayoutTable*> tables_;  ///< by class; the index owns them
  std::vector<std::shared_ptr<const Options>>
      lists_;  ///< of all strategies, by GraphIndex::op_list
  std::map<std::pair<int, std::string>, std::unique_ptr<const Options>> chosen_;
  std::vector<const Options*> of_op_;
};

}  // namespace alpa::intra_op
