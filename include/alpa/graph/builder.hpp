#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/name_table.hpp"

namespace alpa {

class Backward;
class RuleBook;

/// Adds the backward operators of one forward operator; see graph/derivative.hpp.
using Derivative = std::function<void(Backward&)>;

/// What of an added operator does not follow from its kernel and operands.
struct OperatorOptions {
  std::vector<std::string> names =
      {};  ///< of the results; default: the operator's, with a suffix if many
  std::vector<Shape> shapes = {};  ///< of the results; needed if a letter stands in no operand
  std::vector<Dims> dims = {};     ///< of the results; default: the kernel's letters
  std::optional<DType> dtype =
      {};  ///< of the results; default: the kernel's f64 or f32, else operand 0's
  std::optional<Role> role = {};  ///< of the results; default: activation in forward, else gradient
  std::optional<ShardingRule> rule = {};  ///< default: rule_of the kernel
  Derivative derivative = {};             ///< default: the kernel's
};

/// Builds a Graph operator by operator. Operators go to the current layer and phase.
///
/// A parameter belongs to the layer in which it was declared. A forward operator of another layer
/// that names it gets a *replica* instead: a tensor `<parameter>@<layer>`, copied in `prepare`.
///
/// In bf16 and f16 parameters are f32, and forward operators, of their own layer too, get replicas
/// in the low type. An operator whose other operands are f32 (a router, a loss) computes in f32 and
/// reads parameters as they are. What a parameter holds that is not trained is never cast.
///
/// Example: y = x w + c
///
///     const TensorId x = builder.input("x", "be", {4, 8}, DType::f64);
///     const TensorId w = builder.parameter("w", "ef", {8, 2}, {});
///     const TensorId c = builder.parameter("c", "f", {2}, {});
///     const TensorId p = builder.add("product", Einsum{"be", "ef", "bf"}, {x, w});
///     const TensorId y = builder.add("y", Map{MapOp::add, {"bf", "f"}, "bf"}, {p, c});
class GraphBuilder {
 public:
  /// `dtype` is that of products and activations; parameters are at least f32.
  GraphBuilder(int num_layers, std::int64_t microbatch_size, DType dtype);

  /// Where the next tensors and operators go.
  void at(int layer, Phase phase = Phase::forward);
  [[nodiscard]] int layer() const { return layer_; }
  [[nodiscard]] Phase phase() const { return phase_; }
  [[nodiscard]] DType dtype() const { return dtype_; }

  /// The graph so far. Operators stand in the order in which they were added.
  [[nodiscard]] const Graph& graph() const { return graph_; }
  [[nodiscard]] const Tensor& tensor(TensorId id) const { return graph_.tensor(id); }

  /// Adds a tensor as it is. @throws UserError if the name is taken or dims do not fit the shape.
  TensorId add_tensor(Tensor tensor);
  TensorId input(const std::string& name, const Dims& dims, const Shape& shape, DType dtype);
  TensorId parameter(const std::string& name, const Dims& dims, const Shape& shape,
                     const Initializer& initializer);
  /// From now on parameters whose names start with `prefix` are those that start with `owner`
  /// instead, so that several operators use them. @throws UserError from `parameter` if there is no
  /// such one or its shape is another
  void share_parameters(const std::string& prefix, const std::string& owner);
  /// The f64 scalar of that name, made if it is not there yet.
  TensorId scalar(const std::string& name, Role role);

  /// Adds an operator; returns its results. @throws UserError naming operator, letters and shapes.
  std::vector<TensorId> add_all(const std::string& name, const Kernel& kernel,
                                std::vector<TensorId> operands, OperatorOptions options = {});
  /// The same for an operator of which only the first result matters to the caller.
  TensorId add(const std::string& name, const Kernel& kernel, std::vector<TensorId> operands,
               OperatorOptions options = {});
  /// Adds an operator that changes existing tensors.
  void add_in_place(const std::string& name, const Kernel& kernel, std::vector<TensorId> operands,
                    std::vector<TensorId> results);

  void rename(TensorId tensor, const std::string& name);
  void set_parallel_letters(const Dims& letters) { graph_.parallel_letters = letters; }

  /// The operator that makes a tensor, if one does.
  [[nodiscard]] std::optional<OperatorId> producer(TensorId tensor) const;
  /// The derivative given with an operator; empty if it is the kernel's.
  [[nodiscard]] const Derivative& derivative(OperatorId op) const;

  /// The finished graph: operators in the order of the phases, checked by validate().
  [[nodiscard]] Graph build() const&;
  [[nodiscard]] Graph build() &&;

 private:
  TensorId shared_parameter(const std::string& name, const std::string& owner,
                            const Shape& shape) const;
  [[nodiscard]] std::optional<TensorId> find(const std::string& name) const;
  [[nodiscard]] DType computes_in(const std::vector<TensorId>& operands) const;
  TensorId replica(TensorId parameter, int layer, DType dtype);
  void append(Operator op, Derivative derivative);

  Graph graph_;
  DType dtype_;
  int layer_ = 0;
  Phase phase_ = Phase::forward;
  std::vector<Derivative> derivatives_;
  NameTable tensor_by_name_, operator_by_name_;
  std::shared_ptr<RuleBook> rules_;            ///< of kernels and shapes seen so far
  std::vector<OperatorId> producer_;           ///< [tensor] the first; unset: none
  std::map<std::string, std::string> shared_;  ///< prefixes of names
};

}  // namespace alpa
