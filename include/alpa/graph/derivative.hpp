#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alpa/graph/builder.hpp"

namespace alpa {

/// What is known of the gradient of a tensor while backward operators are being built: nothing (no
/// path to the loss), all ones (the loss itself), or a tensor.
struct Gradient {
  std::optional<TensorId> tensor;
  bool ones = false;
  [[nodiscard]] bool exists() const { return ones || tensor.has_value(); }
};

/// The view that the derivative of one forward operator has: its tensors, the gradients of its
/// results, and the place where it gives those of its operands. Operators added through it stand in
/// phase `backward` in the layer of the forward operator and are named
/// `<operator>.backward.<what>`.
class Backward {
 public:
  /// What a tensor got: a whole gradient, or (of a Select) that of one index of a dimension.
  struct Given {
    TensorId tensor;
    Gradient gradient;
    std::optional<std::pair<std::size_t, std::int64_t>> slice;  ///< dimension, index
  };

  Backward(GraphBuilder& builder, OperatorId forward, std::vector<Gradient> results,
           std::vector<bool> wanted);

  [[nodiscard]] const Operator& op() const { return op_; }
  [[nodiscard]] GraphBuilder& builder() const { return builder_; }
  [[nodiscard]] TensorId operand(std::size_t i) const { return op_.operands.at(i); }
  [[nodiscard]] TensorId result(std::size_t i) const { return op_.results.at(i); }
  [[nodiscard]] const Tensor& tensor(TensorId id) const { return builder_.tensor(id); }

  /// Does the operand lead to a parameter? Others need no gradient.
  [[nodiscard]] bool wanted(std::size_t operand) const { return wanted_.at(operand); }
  [[nodiscard]] const Gradient& state(std::size_t result) const { return results_.at(result); }
  /// The gradient of a result as a tensor; zeros or ones are made where there is none.
  [[nodiscard]] TensorId gradient(std::size_t result);

  TensorId add(const std::string& what, const Kernel& kernel, std::vector<TensorId> operands,
               OperatorOptions options = {});
  std::vector<TensorId> add_all(const std::string& what, const Kernel& kernel,
                                std::vector<TensorId> operands, OperatorOptions options = {});

  /// A gradient whose dimensions are the letters `from`, brought to an operand whose letters are
  /// `to`: summed over the letters that were broadcast, converted to its dtype.
  TensorId fit(const std::string& what, TensorId gradient, const Dims& from, const Dims& to,
               std::size_t operand);

  void give(std::size_t operand, TensorId gradient);
  void give_ones(std::size_t operand);
  /// For an operator whose operands are statistics of a tensor and whose derivative reaches through
  /// them (cross-entropy): gives the gradient of that tensor.
  void give_beyond(TensorId tensor, TensorId gradient);
  /// The gradient of operand[.. index ..], without that dimension.
  void give_slice(std::size_t operand, std::size_t dimension, std::int64_t index,
                  TensorId gradient);
  [[nodiscard]] const std::vector<Given>& given() const { return given_; }

 private:
  GraphBuilder& builder_;
  Operator op_;
  std::vector<Gradient> results_;
  std::vector<bool> wanted_;
  std::vector<Given> given_;
};

/// Called as soon as the gradient of a parameter or replica is complete.
using GradientReady = std::function<void(TensorId parameter, TensorId gradient)>;

/// Adds the backward operators of the sum of `losses` (f64 scalars) with respect to every parameter
/// and replica, in reverse mode over the forward operators. Returns the gradient of each parameter
/// and replica that has a path to a loss.
///
/// Gradients are tensors named `<tensor>.gradient`, except where one passes through unchanged (an
/// addition): then both tensors share it. Several uses of a tensor are summed in the layers where
/// they are, so that one tensor crosses from a layer to the one before.
/// @throws UserError naming an operator on the path that has no derivative.
std::map<TensorId, TensorId> differentiate(GraphBuilder& builder,
                                           const std::vector<TensorId>& losses,
                                           const GradientReady& ready = {});

}  // namespace alpa
