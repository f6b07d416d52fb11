#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/sharding/strategy.hpp"

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

/// Layouts and options of the operators of a graph on a mesh. Operators of equal kernels, shapes
/// and choices share a list.
class OperatorOptions {
 public:
  OperatorOptions(const Graph& graph, const MeshCosts& costs);

  /// Fills options(): every strategy of the rule, or those of `chosen`. Strategies that give equal
  /// layouts are one option.
  void add(std::size_t op, const std::vector<Strategy>* chosen);

  [[nodiscard]] const Options& options(std::size_t op) const { return *of_op_[op]; }
  /// The option of a strategy of the rule, whether it stands among options() or not.
  /// @throws PlanError if it is not one of the rule's
  [[nodiscard]] Option option(std::size_t op, const Strategy& strategy) const;
  [[nodiscard]] LayoutTable& layouts(TensorId tensor) const {
    return *tables_[static_cast<std::size_t>(class_of_[tensor.index()])];
  }
  /// Tensors of one shape and dtype are of one class.
  [[nodiscard]] int layout_class(TensorId tensor) const { return class_of_[tensor.index()]; }
  /// Operators whose lists of options differ in the names of factors alone have one number.
  [[nodiscard]] int list_number(std::size_t op) const { return number_[op]; }
  [[nodiscard]] const MeshCosts& costs() const { return costs_; }

 private:
  [[nodiscard]] Option make(const Operator& op, const Strategy& strategy,
                            const OperatorLayout& layout) const;
  [[nodiscard]] double kernel_seconds(const Operator& op, const OperatorLayout& layout,
                                      std::size_t operands) const;
  [[nodiscard]] std::string key_of(const Operator& op) const;

  const Graph& graph_;
  const MeshCosts& costs_;
  std::vector<int> class_of_;
  std::vector<std::unique_ptr<LayoutTable>> tables_;
  std::map<std::string, int> numbers_;
  std::map<std::string, std::shared_ptr<const Options>> shared_;
  std::vector<std::shared_ptr<const Options>> of_op_;
  std::vector<int> number_;
};

/// A sum of gradient sums, which may share a buffer.
[[nodiscard]] bool is_sum_of_accumulators(const Graph& graph, const Operator& op);

/// f64 scalars of the step state: they take part in no move.
[[nodiscard]] bool is_scalar(const Tensor& tensor);

}  // namespace alpa::intra_op
