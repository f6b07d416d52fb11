#include "alpa/base/error.hpp"

#include "free_layers.hpp"

// Letters: b sample, y x the input's height and width, h w the output's, c o channels.
namespace alpa::model {
namespace {

void need_image(const FreeLayer& at, const Value& x) {
  const Tensor& tensor = at.context.builder.tensor(x.id);
  if (tensor.shape.size() == 4 && tensor.dtype != DType::i32) return;
  at.refuse("an input of shape " + to_string(sample_shape(at.context, x)) + " a sample",
            "an image [height, width, channels]");
}

/// Height and width that a window leaves of an image.
Shape places(const FreeLayer& at, const Value& x, std::int64_t size, const Window& window) {
  const Shape& shape = at.context.builder.tensor(x.id).shape;
  Shape left;
  for (const std::size_t d : {1U, 2U}) {
    const std::int64_t room = shape[d] + 2 * window.padding - size;
    if (room < 0) {
      at.refuse("an image " + to_string(sample_shape(at.context, x)),
                "sides of at least " + std::to_string(size - 2 * window.padding) +
                    " for a window of " + std::to_string(size) + " with padding " +
                    std::to_string(window.padding));
    }
    left.push_back(room / window.stride + 1);
  }
  return left;
}

}  // namespace

Value build(const FreeLayer& at, const ConvolutionLayer& layer, const Value& x) {
  need_image(at, x);
  GraphBuilder& builder = at.context.builder;
  const Shape shape = builder.tensor(x.id).shape;
  const Window window{.stride = layer.stride, .padding = layer.padding.value_or(layer.size / 2)};
  const Shape side = places(at, x, layer.size, window);
  const std::string name = at.name + ".convolution";
  const Shape weight_shape{layer.size, layer.size, shape[3], layer.out};
  const TensorId weight = builder.parameter(
      name + ".weight", "klco", weight_shape,
      weight_initializer(at.context, layer.size * layer.size * shape[3], at.ends_residual));
  const Dims dims = value_dims(4, at.letter);
  const Shape out{shape[0], side[0], side[1], layer.out};
  Value y{builder.add(name, Convolution{window}, {x.id, weight}, {.shapes = {out}, .dims = {dims}}),
          dims};
  if (layer.bias) {
    const Dims channel(1, at.letter);
    const TensorId bias = builder.parameter(name + ".bias", channel, {layer.out}, {});
    y.id = builder.add(name + ".add_bias", Map{MapOp::add, {dims, channel}, dims}, {y.id, bias});
  }
  return layer.activation ? activation(at.context, y, *layer.activation, at.name) : y;
}

Value build(const FreeLayer& at, const PoolLayer& layer, const Value& x) {
  need_image(at, x);
  GraphBuilder& builder = at.context.builder;
  const Shape shape = builder.tensor(x.id).shape;
  const Window window{layer.size, layer.stride.value_or(layer.size), layer.padding};
  const Shape side = places(at, x, layer.size, window);
  const Shape out{shape[0], side[0], side[1], shape[3]};
  if (layer.kind == PoolLayer::Kind::average) {
    return {builder.add(at.name + ".average_pool", AveragePool{window}, {x.id},
                        {.shapes = {out}, .dims = {x.dims}}),
            x.dims};
  }
  return {builder.add(at.name + ".max_pool", MaxPool{window}, {x.id},
                      {.shapes = {out, out}, .dims = {x.dims, x.dims}}),
          x.dims};
}

Value build(const FreeLayer& at, const UpsampleLayer& layer, const Value& x) {
  need_image(at, x);
  const Shape& shape = at.context.builder.tensor(x.id).shape;
  const Shape out{shape[0], layer.factor * shape[1], layer.factor * shape[2], shape[3]};
  return {at.context.builder.add(at.name + ".upsample", Upsample{layer.factor}, {x.id},
                                 {.shapes = {out}, .dims = {x.dims}}),
          x.dims};
}

}  // namespace alpa::model
