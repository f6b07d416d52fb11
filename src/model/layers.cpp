#include "layers.hpp"

#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/graph/training.hpp"

namespace alpa::model {
namespace {

Shape last_extents(const Shape& shape, std::size_t count) {
  return {shape.end() - static_cast<long>(count), shape.end()};
}

MapOp map_of(Activation kind) {
  switch (kind) {
    case Activation::gelu:
      return MapOp::gelu;
    case Activation::gelu_tanh:
      return MapOp::gelu_tanh;
    case Activation::relu:
      return MapOp::relu;
    case Activation::silu:
      return MapOp::silu;
    case Activation::tanh:
      return MapOp::tanh;
    case Activation::swiglu:
      throw UserError(
          "model: activation swiglu belongs to the feed-forward of a transformer; a "
          "layer can have gelu, gelu_tanh, relu, silu or tanh");
  }
  check_failed("known activation", SourceLine::here());
}

}  // namespace

Initializer weight_initializer(const Context& context, std::int64_t inputs, bool ends_residual) {
  double deviation = context.initializer.std.value_or(1.0 / std::sqrt(static_cast<double>(inputs)));
  if (ends_residual && context.initializer.scale_residual) deviation *= context.residual_scale;
  return {.kind = Initializer::Kind::normal, .value = 0.0, .deviation = deviation};
}

Value linear(const Context& context, const Value& x, const Linear& layer) {
  GraphBuilder& builder = context.builder;
  const Shape inputs = last_extents(builder.tensor(x.id).shape, layer.inputs.size());
  Shape weight_shape = inputs;
  weight_shape.insert(weight_shape.end(), layer.output_shape.begin(), layer.output_shape.end());
  const Dims weight_dims = layer.inputs + layer.outputs;
  const TensorId weight =
      builder.parameter(layer.name + ".weight", weight_dims, weight_shape,
                        weight_initializer(context, num_elements(inputs), layer.ends_residual));
  const Dims kept = x.dims.substr(0, x.dims.size() - layer.inputs.size());
  const Dims result = kept + layer.outputs;
  const TensorId product =
      builder.add(layer.name, Einsum{kept + layer.inputs, weight_dims, result}, {x.id, weight});
  if (!layer.bias) return {product, result};
  const TensorId bias =
      builder.parameter(layer.name + ".bias", layer.outputs, layer.output_shape, {});
  const Map add{MapOp::add, {result, layer.outputs}, result};
  return {builder.add(layer.name + ".add_bias", add, {product, bias}), result};
}

Value activation(const Context& context, const Value& x, Activation kind,
                 const std::string& prefix) {
  const Map map{map_of(kind), {x.dims}, x.dims};
  return {context.builder.add(prefix + "." + std::string(name_of(kind)), map, {x.id}), x.dims};
}

Value norm(const Context& context, const Value& x, const NormChoice& choice,
           const std::string& name) {
  GraphBuilder& builder = context.builder;
  const bool rms = choice.kind == Norm::rms;
  const bool bias = choice.bias && !rms;
  const Dims letter(1, x.letter());
  const Shape shape{context.width(x)};
  const Initializer ones{.kind = Initializer::Kind::constant, .value = 1.0, .deviation = 0.0};
  const TensorId scale = builder.parameter(name + ".weight", letter, shape, ones);
  const auto moments = builder.add_all(name + ".moments", NormMoments{x.dims, letter}, {x.id});
  std::vector<TensorId> operands{x.id, moments.at(0), moments.at(1), scale};
  if (bias) operands.push_back(builder.parameter(name + ".bias", letter, shape, {}));
  const NormApply apply{{.operand = x.dims,
                         .over = letter,
                         .parameters = letter,
                         .rms = rms,
                         .epsilon = choice.epsilon},
                        bias};
  return {builder.add(name, apply, operands), x.dims};
}

Value dropout(const Context& context, const Value& x, double probability, const std::string& name) {
  if (probability == 0.0) return x;
  GraphBuilder& builder = context.builder;
  const Dropout kernel{x.dims, {probability, stream_key(context.seed, name)}};
  return {builder.add(name, kernel,
                      {x.id, builder.scalar(scalar_name::kDropoutStep, Role::step_scalar),
                       builder.scalar(scalar_name::kTraining, Role::step_scalar)}),
          x.dims};
}

Value sum(const Context& context, const Value& x, const Value& y, const std::string& name) {
  const Dims y_dims = y.dims.size() == x.dims.size() ? x.dims : y.dims;
  return {context.builder.add(name, Map{MapOp::add, {x.dims, y_dims}, x.dims}, {x.id, y.id}),
          x.dims};
}

TensorId cross_entropy(const Context& context, const Value& logits) {
  GraphBuilder& builder = context.builder;
  const Dims& full = logits.dims;
  const Dims row = full.substr(0, full.size() - 1);
  Shape shape = builder.tensor(logits.id).shape;
  shape.pop_back();
  const TensorId labels = builder.input("labels", row, shape, DType::i32);
  const TensorId weights = builder.input("weights", row, shape, at_least_f32(context.dtype));
  const TensorId inverse = builder.scalar(scalar_name::kInverseWeight, Role::step_scalar);
  const Reduce reduce{.op = ReduceOp::max, .operand = full, .result = row};
  const TensorId maximum = builder.add("loss.maximum", reduce, {logits.id});
  const TensorId sum = builder.add("loss.sum_exp", SumExp{full, row}, {logits.id, maximum});
  const Pick pick{full, row, logits.letter(), context.label_smoothing};
  const TensorId picked = builder.add("loss.picked", pick, {logits.id, labels});
  const TensorId values =
      builder.add("loss.cross_entropy", Map{MapOp::cross_entropy, {row, row, row, row, ""}, row},
                  {maximum, sum, picked, weights, inverse});
  const TensorId logit =
      pick.smoothing == 0.0
          ? picked
          : builder.add("loss.label_logit", Pick{full, row, logits.letter()}, {logits.id, labels});
  const TensorId hits =
      builder.add("loss.hits", Map{MapOp::hit, {row, row, row}, row}, {maximum, logit, weights});
  contribute_sum(builder, "loss.correct", hits, scalar_name::kCorrect);
  return add_loss(builder, "loss", values);
}

TensorId squared_error(const Context& context, const Value& outputs) {
  GraphBuilder& builder = context.builder;
  const Dims& full = outputs.dims;
  const Dims row = full.substr(0, full.size() - 1);
  const Shape shape = builder.tensor(outputs.id).shape;
  const DType dtype = at_least_f32(context.dtype);
  const TensorId targets = builder.input("targets", full, shape, dtype);
  const TensorId weights = builder.input("weights", row, {shape.begin(), shape.end() - 1}, dtype);
  const TensorId inverse = builder.scalar(scalar_name::kInverseWeight, Role::step_scalar);
  const Map error{MapOp::squared_error, {full, full, row, ""}, full, 0.5};
  const TensorId values =
      builder.add("loss.squared_error", error, {outputs.id, targets, weights, inverse});
  return add_loss(builder, "loss", values);
}

}  // namespace alpa::model
