#include "free_layers.hpp"

#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/graph/training.hpp"

namespace alpa::model {
namespace {

const Shape& shape_of(const FreeLayer& at, const Value& x) {
  return at.context.builder.tensor(x.id).shape;
}

std::string sample_text(const FreeLayer& at, const Value& x) {
  return "an input of shape " + to_string(sample_shape(at.context, x)) + " a sample";
}

/// Numbers with `least` dimensions or more, the batch counted.
void need_reals(const FreeLayer& at, const Value& x, std::size_t least,
                const std::string& expected) {
  if (at.context.builder.tensor(x.id).dtype == DType::i32) {
    at.refuse("an input of integers", "real numbers; put an embedding before it");
  }
  if (shape_of(at, x).size() < least) at.refuse(sample_text(at, x), expected);
}

TensorId step_scalar(const FreeLayer& at, const char* name) {
  return at.context.builder.scalar(name, Role::step_scalar);
}

Value map(const FreeLayer& at, const Map& kernel, const Value& x, const std::string& what) {
  return {at.context.builder.add(at.name + what, kernel, {x.id}), x.dims};
}

}  // namespace

void FreeLayer::refuse(const std::string& found, const std::string& expected) const {
  throw UserError(where + ": found " + found + ", expected " + expected);
}

Dims value_dims(std::size_t rank, char letter) {
  static const Dims middle = "rszyx";
  if (rank < 2) return "b";
  if (rank == 3) return Dims("bt") + letter;
  return "b" + middle.substr(middle.size() - (rank - 2)) + letter;
}

Shape sample_shape(const Context& context, const Value& x) {
  const Shape& shape = context.builder.tensor(x.id).shape;
  return {shape.begin() + 1, shape.end()};
}

Value build(const FreeLayer& at, const LinearLayer& layer, const Value& x) {
  need_reals(at, x, 2, "one dimension or more");
  const Value y = linear(at.context, x,
                         {.name = at.name + ".linear",
                          .inputs = Dims(1, x.letter()),
                          .outputs = Dims(1, at.letter),
                          .output_shape = {layer.out},
                          .bias = layer.bias,
                          .ends_residual = at.ends_residual});
  return layer.activation ? activation(at.context, y, *layer.activation, at.name) : y;
}

Value build(const FreeLayer& at, const NormLayer& layer, const Value& x) {
  need_reals(at, x, 2, "one dimension or more");
  return norm(at.context, x, {layer.kind, true, layer.epsilon}, at.name + ".norm");
}

Value build(const FreeLayer& at, const ActivationLayer& layer, const Value& x) {
  need_reals(at, x, 1, "");
  return activation(at.context, x, layer.kind, at.name);
}

Value build(const FreeLayer& at, const DropoutLayer& layer, const Value& x) {
  need_reals(at, x, 1, "");
  return dropout(at.context, x, layer.p, at.name + ".dropout");
}

Value build(const FreeLayer& at, const ScaleLayer& layer, const Value& x) {
  need_reals(at, x, 1, "");
  return map(at, Map{MapOp::scale, {x.dims}, x.dims, layer.factor}, x, ".scale");
}

namespace {

Value softmax(const FreeLayer& at, const Value& x) {
  need_reals(at, x, 2, "one dimension or more");
  GraphBuilder& builder = at.context.builder;
  const Dims row = x.dims.substr(0, x.dims.size() - 1);
  const TensorId maximum = builder.add(
      at.name + ".maximum", Reduce{.op = ReduceOp::max, .operand = x.dims, .result = row}, {x.id});
  const TensorId sum = builder.add(at.name + ".sum_exp", SumExp{x.dims, row}, {x.id, maximum});
  return {builder.add(at.name + ".softmax", Map{MapOp::softmax, {x.dims, row, row}, x.dims},
                      {x.id, maximum, sum}),
          x.dims};
}

Value flatten(const FreeLayer& at, const Value& x) {
  need_reals(at, x, 2, "one dimension or more");
  if (x.dims.size() == 2) return x;
  const Shape& shape = shape_of(at, x);
  const Shape flat{shape[0], num_elements(shape) / shape[0]};
  const Dims dims{'b', at.letter};
  const View view{Dims("b") + Dims("rszyxw").substr(7 - x.dims.size()), dims};
  return {at.context.builder.add(at.name + ".flatten", view, {x.id}, {.shapes = {flat}}), dims};
}

Value global_average(const FreeLayer& at, const Value& x) {
  need_reals(at, x, 3, "two dimensions or more");
  const Shape& shape = shape_of(at, x);
  const auto places = static_cast<double>(num_elements(shape) / shape.front() / shape.back());
  const Dims kept{'b', x.letter()};
  const Value sum{
      at.context.builder.add(at.name + ".sum", Reduce{.operand = x.dims, .result = kept}, {x.id}),
      kept};
  return map(at, Map{MapOp::scale, {kept}, kept, 1.0 / places}, sum, ".global_average_pool");
}

Value positions(const FreeLayer& at, const Value& x) {
  need_reals(at, x, 2, "one dimension or more");
  const Dims dims = x.dims.substr(1);
  const Initializer start = weight_initializer(at.context, at.context.width(x), false);
  const TensorId weight = at.context.builder.parameter(at.name + ".positions.weight", dims,
                                                       sample_shape(at.context, x), start);
  return sum(at.context, x, {weight, dims}, at.name + ".positions");
}

}  // namespace

Value build(const FreeLayer& at, const PlainLayer& layer, const Value& x) {
  switch (layer.kind) {
    case PlainLayer::Kind::softmax:
      return softmax(at, x);
    case PlainLayer::Kind::flatten:
      return flatten(at, x);
    case PlainLayer::Kind::global_average_pool:
      return global_average(at, x);
    case PlainLayer::Kind::positions:
      return positions(at, x);
  }
  check_failed("known layer", SourceLine::here());
}

Value build(const FreeLayer& at, const EmbeddingLayer& layer, const Value& x) {
  GraphBuilder& builder = at.context.builder;
  if (builder.tensor(x.id).dtype != DType::i32) {
    at.refuse("an input of real numbers",
              "integers; give the input of the model `type: integer` and put nothing before");
  }
  const Dims dims = value_dims(x.dims.size() + 1, at.letter);
  const Dims table{'v', at.letter};
  const TensorId weight =
      builder.parameter(at.name + ".embedding.weight", table, {layer.vocabulary, layer.out},
                        weight_initializer(at.context, layer.out, false));
  const Embedding kernel{table, dims.substr(0, dims.size() - 1), dims};
  return {builder.add(at.name + ".embedding", kernel, {weight, x.id}), dims};
}

Value build(const FreeLayer& at, const AttentionLayer& layer, const Value& x) {
  need_reals(at, x, 3, "[places, width]");
  if (x.dims.size() != 3) at.refuse(sample_text(at, x), "[places, width]");
  const std::int64_t width = at.context.width(x);
  if (width % layer.heads != 0) {
    at.refuse(std::to_string(layer.heads) + " heads",
              "a number that divides the width " + std::to_string(width));
  }
  const std::int64_t depth = width / layer.heads;
  if (layer.rotary && depth % 2 != 0) {
    at.refuse("heads of width " + std::to_string(depth), "an even width for rotary positions");
  }
  GraphBuilder& builder = at.context.builder;
  const Value in{x.id, "bte"};
  const Value qkv = linear(at.context, in,
                           {.name = at.name + ".attention.qkv",
                            .inputs = "e",
                            .outputs = "khd",
                            .output_shape = {3, layer.heads, depth},
                            .bias = layer.bias});
  const auto part = [&](const char* what, const Dims& dims, std::int64_t index) {
    const std::string name = at.name + ".attention." + what;
    const TensorId taken = builder.add(name, Select{dims, 'k', index}, {qkv.id});
    if (!layer.rotary || index == 2) return taken;
    return builder.add(name + ".rotary", Rotary{"bthd"}, {taken});
  };
  const TensorId query = part("query", "btkhd", 0), key = part("key", "btkhd", 1);
  const TensorId value = part("value", "btkhd", 2);
  const Attention kernel{layer.causal,
                         1.0 / std::sqrt(static_cast<double>(depth)),
                         {layer.dropout, stream_key(at.context.seed, at.name + ".attention")}};
  const TensorId mixed = builder.add(at.name + ".attention", kernel,
                                     {query, key, value, step_scalar(at, scalar_name::kDropoutStep),
                                      step_scalar(at, scalar_name::kTraining)});
  return linear(at.context, {mixed, "bthd"},
                {.name = at.name + ".attention.output",
                 .inputs = "hd",
                 .outputs = Dims(1, at.letter),
                 .output_shape = {width},
                 .bias = layer.bias,
                 .ends_residual = at.ends_residual});
}

Value build(const FreeLayer& at, const FeedForwardLayer& layer, const Value& x) {
  need_reals(at, x, 2, "one dimension or more");
  const std::string name = at.name + ".feed_forward";
  const Dims rest = x.dims.substr(0, x.dims.size() - 1);
  const Value in{x.id, rest + "e"};
  const auto widen = [&](const std::string& what) {
    return linear(at.context, in,
                  {.name = name + what,
                   .inputs = "e",
                   .outputs = "f",
                   .output_shape = {layer.hidden},
                   .bias = layer.bias});
  };
  Value inner = widen(".in");
  if (layer.activation == Activation::swiglu) {
    const Value gate = widen(".gate");
    const Dims dims = rest + "f";
    const TensorId open =
        at.context.builder.add(name + ".silu", Map{MapOp::silu, {dims}, dims}, {gate.id});
    inner = {at.context.builder.add(name + ".swiglu", Map{MapOp::multiply, {dims, dims}, dims},
                                    {open, inner.id}),
             dims};
  } else {
    inner = activation(at.context, inner, layer.activation, name);
  }
  return linear(at.context, inner,
                {.name = name + ".out",
                 .inputs = "f",
                 .outputs = "e",
                 .output_shape = {at.context.width(x)},
                 .bias = layer.bias,
                 .ends_residual = at.ends_residual});
}

}  // namespace alpa::model
