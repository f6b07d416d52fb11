#include <set>

#include "alpa/base/error.hpp"
#include "alpa/graph/training.hpp"

#include "free_layers.hpp"

// Outputs that free models name, each with a loss of its own.
namespace alpa::model {
namespace {

/// The input of that name, made if no output before has it.
TensorId field(const Context& context, const std::string& name, const Dims& dims,
               const Shape& shape, DType dtype, const std::string& path) {
  GraphBuilder& builder = context.builder;
  const auto known = builder.graph().find_tensor(name);
  if (!known) return builder.input(name, dims, shape, dtype);
  const Tensor& tensor = builder.tensor(*known);
  if (tensor.role == Role::input && tensor.shape == shape && tensor.dtype == dtype) return *known;
  throw UserError(path + ": field " + name + " has shape " + to_string(tensor.shape) +
                  " elsewhere, expected " + to_string(shape) + " here; name another field");
}

/// The samples' weights over the places of an output, so that their losses make a mean.
TensorId row_weights(const Context& context, const std::string& name, const Dims& row,
                     const Shape& row_shape, double weight, const std::string& path) {
  GraphBuilder& builder = context.builder;
  const TensorId samples = field(context, "weights", "b", {row_shape.front()}, context.dtype, path);
  const auto places = static_cast<double>(num_elements(row_shape) / row_shape.front());
  return builder.add(name + ".weights", Map{MapOp::scale, {"b"}, row, weight / places}, {samples},
                     {.shapes = {row_shape}});
}

}  // namespace

TensorId output_loss(const Context& context, const OutputConfig& output, const Value& y,
                     const std::string& path) {
  GraphBuilder& builder = context.builder;
  const Tensor value = builder.tensor(y.id);
  if (value.dtype == DType::i32 || value.shape.size() < 2) {
    throw UserError(path + ".layer: " + output.layer + " has shape " +
                    to_string(sample_shape(context, y)) +
                    " a sample, expected one dimension or more of real numbers");
  }
  builder.at(builder.graph().num_layers - 1);
  const std::string name = "loss." + output.layer;
  const Dims &full = y.dims, row = full.substr(0, full.size() - 1);
  const Shape row_shape{value.shape.begin(), value.shape.end() - 1};
  const TensorId weights = row_weights(context, name, row, row_shape, output.weight, path);
  const TensorId inverse = builder.scalar(scalar_name::kInverseWeight, Role::step_scalar);
  if (output.loss == Loss::squared_error) {
    const TensorId targets = field(context, output.field, full, value.shape, context.dtype, path);
    const Map error{MapOp::squared_error, {full, full, row, ""}, full, 0.5};
    return add_loss(builder, name,
                    builder.add(name + ".squared_error", error, {y.id, targets, weights, inverse}));
  }
  const TensorId labels = field(context, output.field, row, row_shape, DType::i32, path);
  const Reduce reduce{.op = ReduceOp::max, .operand = full, .result = row};
  const TensorId maximum = builder.add(name + ".maximum", reduce, {y.id});
  const TensorId sum = builder.add(name + ".sum_exp", SumExp{full, row}, {y.id, maximum});
  const TensorId picked = builder.add(
      name + ".picked", Pick{full, row, y.letter(), context.label_smoothing}, {y.id, labels});
  const Map entropy{MapOp::cross_entropy, {row, row, row, row, ""}, row};
  return add_loss(
      builder, name,
      builder.add(name + ".cross_entropy", entropy, {maximum, sum, picked, weights, inverse}));
}

}  // namespace alpa::model
