#include "layer_kinds.hpp"

#include <algorithm>

#include "alpa/base/overloaded.hpp"

namespace alpa {
namespace {

using Layer = LayerVariant;

constexpr std::int64_t kWidest = std::int64_t{1} << 24;
constexpr std::int64_t kLargestSide = 65536;
constexpr std::size_t kAnyNumber = 10;
constexpr NumberRange kPositive{.min = 0, .open_min = true};
constexpr NumberRange kShare{.min = 0, .max = 1, .open_max = true};
const std::vector<Activation> kElementwise = {Activation::gelu, Activation::gelu_tanh,
                                              Activation::relu, Activation::silu, Activation::tanh};

/// `type` as one alternative of Layer.
template <class L>
ValueType<Layer> alternative(ValueType<L> type, const L& defaults) {
  ValueType<Layer> result;
  result.expected = type.expected;
  result.read = [type, defaults](const Cursor& at) -> std::optional<Layer> {
    std::optional<L> value = type.change ? type.change(at, defaults) : type.read(at);
    return value ? std::make_optional(Layer(std::move(*value))) : std::nullopt;
  };
  result.write = [type](const Layer& layer) { return type.write(std::get<L>(layer)); };
  if (type.keys) {
    result.keys = [keys = type.keys, defaults](const Layer&) { return keys(defaults); };
  }
  return result;
}

/// A layer whose settings are the keys of a mapping.
template <class L>
ValueType<Layer> settings(std::vector<Key<L>> keys, const L& defaults = {}) {
  return alternative(section(Section<L>(std::move(keys))), defaults);
}

template <class L>
Key<L> activation_key(std::optional<Activation> L::* member, const std::string& help) {
  return key("activation", member, word_or("none", choice<Activation>(kElementwise)), help);
}

ValueType<Layer> linear_type() {
  using L = LinearLayer;
  return settings<L>({
      key("out", &L::out, integer(1, kWidest), "outputs").must_be_given(),
      activation_key(&L::activation, "applied to the outputs"),
      key("bias", &L::bias, boolean(), "add a bias"),
  });
}

ValueType<Layer> einsum_type() {
  using L = EinsumLayer;
  return settings<L>({
      key("equation", &L::equation, text(), "as bte,ef->btf; the first letter is the sample")
          .must_be_given(),
      key("weight", &L::weight, list_of(integer(1, kWidest), "a list of sizes"),
          "sizes of a weight, the second factor; empty: it is the second of two inputs"),
  });
}

ValueType<Layer> norm_type(Norm kind) {
  using L = NormLayer;
  return settings<L>({key("epsilon", &L::epsilon, number(kPositive), "added to the variance")},
                     {.kind = kind});
}

ValueType<Layer> embedding_type() {
  using L = EmbeddingLayer;
  return settings<L>({
      key("vocabulary", &L::vocabulary, integer(1, kWidest), "different values").must_be_given(),
      key("out", &L::out, integer(1, kWidest), "width of each value's row").must_be_given(),
  });
}

ValueType<Layer> attention_type() {
  using L = AttentionLayer;
  return settings<L>({
      key("heads", &L::heads, integer(1, kWidest), "divides the width").must_be_given(),
      key("causal", &L::causal, boolean(), "a place sees itself and those before it"),
      key("rotary", &L::rotary, boolean(), "turn queries and keys by their places"),
      key("dropout", &L::dropout, number(kShare), "of attention's shares"),
      key("bias", &L::bias, boolean(), "in both products"),
  });
}

ValueType<Layer> feed_forward_type() {
  using L = FeedForwardLayer;
  return settings<L>({
      key("hidden", &L::hidden, integer(1, kWidest), "width inside").must_be_given(),
      key("activation", &L::activation, choice<Activation>(), "of the hidden values"),
      key("bias", &L::bias, boolean(), "in the products"),
  });
}

ValueType<Layer> convolution_type() {
  using L = ConvolutionLayer;
  return settings<L>({
      key("out", &L::out, integer(1, kWidest), "channels").must_be_given(),
      key("size", &L::size, integer(1, kLargestSide), "of the sides of the window"),
      key("stride", &L::stride, integer(1, kLargestSide), "of the window"),
      key("padding", &L::padding, word_or("half", integer(0, kLargestSide)),
          "zeros around the image; half: size / 2"),
      activation_key(&L::activation, "applied to the outputs"),
      key("bias", &L::bias, boolean(), "add a bias to each channel"),
  });
}

ValueType<Layer> pool_type(PoolLayer::Kind kind) {
  using L = PoolLayer;
  return settings<L>(
      {
          key("size", &L::size, integer(1, kLargestSide), "of the sides of the window"),
          key("stride", &L::stride, word_or("size", integer(1, kLargestSide)), "of the window"),
          key("padding", &L::padding, integer(0, kLargestSide), "absent pixels around the image"),
      },
      {.kind = kind});
}

template <class L>
ValueType<Layer> plain_type(const L& value) {
  return settings<L>({}, value);
}

ValueType<Layer> repeat_type() {
  return alternative(
      mapped<RepeatLayer>(
          integer(1, 100'000), [](std::int64_t count) { return RepeatLayer{count, {}}; },
          [](const RepeatLayer& repeat) { return repeat.count; }),
      RepeatLayer{});
}

ValueType<Layer> residual_type() {
  return alternative(
      mapped<ResidualLayer>(
          layers_type(),
          [](std::vector<LayerConfig> body) { return ResidualLayer{std::move(body)}; },
          [](const ResidualLayer& residual) { return residual.body; }),
      ResidualLayer{});
}

std::string name_of_combination(CombineLayer::Kind kind) {
  switch (kind) {
    case CombineLayer::Kind::add:
      return "add";
    case CombineLayer::Kind::multiply:
      return "multiply";
    case CombineLayer::Kind::concatenate:
      return "concatenate";
  }
  return "";
}

std::string name_of_plain(PlainLayer::Kind kind) {
  switch (kind) {
    case PlainLayer::Kind::softmax:
      return "softmax";
    case PlainLayer::Kind::flatten:
      return "flatten";
    case PlainLayer::Kind::global_average_pool:
      return "global_average_pool";
    case PlainLayer::Kind::positions:
      return "positions";
  }
  return "";
}

std::vector<LayerKind> simple_kinds() {
  std::vector<LayerKind> kinds;
  const auto add = [&](const auto& layer, const std::string& help) {
    kinds.push_back({layer_kind_name(layer), help, plain_type(layer), true});
  };
  add(ActivationLayer{Activation::gelu}, "exact, with erf");
  add(ActivationLayer{Activation::gelu_tanh}, "approximation with tanh");
  add(ActivationLayer{Activation::relu}, "max(x, 0)");
  add(ActivationLayer{Activation::silu}, "x sigmoid(x)");
  add(ActivationLayer{Activation::tanh}, "tanh(x)");
  add(PlainLayer{PlainLayer::Kind::softmax}, "over the last dimension");
  add(PlainLayer{PlainLayer::Kind::flatten}, "all dimensions of a sample as one");
  add(PlainLayer{PlainLayer::Kind::global_average_pool}, "mean over all but the last dimension");
  add(PlainLayer{PlainLayer::Kind::positions}, "adds a trained value to each place of a sample");
  kinds.back().owns_parameters = true;
  const auto combine = [&](CombineLayer::Kind kind, const std::string& help) {
    add(CombineLayer{kind}, help);
    kinds.back().most_inputs = kAnyNumber;
  };
  combine(CombineLayer::Kind::add, "sum of the layers named in `input`");
  combine(CombineLayer::Kind::multiply, "product of the layers named in `input`");
  combine(CombineLayer::Kind::concatenate,
          "the layers named in `input` side by side along the last dimension");
  return kinds;
}

std::vector<LayerKind> all_kinds() {
  std::vector<LayerKind> kinds = {
      {"linear", "matrix product over the last dimension", linear_type(), false, true},
      {"einsum", "product over named indices, of an input and a weight or of two inputs",
       einsum_type(), false, true, 2},
      {"embedding", "rows of a table, by integers", embedding_type(), false, true},
      {"attention", "self-attention over the second dimension", attention_type(), false, true},
      {"feed_forward", "two products with an activation between", feed_forward_type(), false, true},
      {"convolution", "of images [height, width, channels]", convolution_type(), false, true},
      {"max_pool", "maximum in each window of an image", pool_type(PoolLayer::Kind::maximum), true},
      {"average_pool", "mean of each window of an image", pool_type(PoolLayer::Kind::average),
       true},
      {"upsample", "each pixel as a square of equal ones",
       settings<UpsampleLayer>(
           {key("factor", &UpsampleLayer::factor, integer(1, kLargestSide), "side of the square")}),
       true},
      {"layer_norm", "mean 0, variance 1, then scale and shift", norm_type(Norm::layer), true,
       true},
      {"rms_norm", "root mean square 1, then scale", norm_type(Norm::rms), true, true},
      {"dropout", "in training only",
       settings<DropoutLayer>(
           {key("p", &DropoutLayer::p, number(kShare), "share of elements set to 0")
                .must_be_given()})},
      {"scale", "times a constant",
       settings<ScaleLayer>(
           {key("factor", &ScaleLayer::factor, number({}), "the constant").must_be_given()})},
      {"repeat", "`block`, a list of layers, so many times", repeat_type()},
      {"residual", "x + the layers of the list applied to x", residual_type()},
  };
  for (LayerKind& kind : simple_kinds()) kinds.push_back(std::move(kind));
  return kinds;
}

}  // namespace

const std::vector<LayerKind>& layer_kinds() {
  static const std::vector<LayerKind> kinds = all_kinds();
  return kinds;
}

const LayerKind* layer_kind_named(std::string_view name) {
  const auto& kinds = layer_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(),
                                  [name](const LayerKind& kind) { return kind.name == name; });
  return found == kinds.end() ? nullptr : &*found;
}

std::string layer_kind_name(const LayerVariant& layer) {
  using Text = std::string;
  return std::visit(
      overloaded{
          [](const LinearLayer&) { return Text("linear"); },
          [](const EinsumLayer&) { return Text("einsum"); },
          [](const NormLayer& l) {
            return Text(l.kind == Norm::layer ? "layer_norm" : "rms_norm");
          },
          [](const ActivationLayer& l) { return Text(name_of(l.kind)); },
          [](const DropoutLayer&) { return Text("dropout"); },
          [](const ScaleLayer&) { return Text("scale"); },
          [](const CombineLayer& l) { return name_of_combination(l.kind); },
          [](const PlainLayer& l) { return name_of_plain(l.kind); },
          [](const EmbeddingLayer&) { return Text("embedding"); },
          [](const AttentionLayer&) { return Text("attention"); },
          [](const FeedForwardLayer&) { return Text("feed_forward"); },
          [](const ConvolutionLayer&) { return Text("convolution"); },
          [](const PoolLayer& l) {
            return Text(l.kind == PoolLayer::Kind::maximum ? "max_pool" : "average_pool");
          },
          [](const UpsampleLayer&) { return Text("upsample"); },
          [](const RepeatLayer&) { return Text("repeat"); },
          [](const ResidualLayer&) { return Text("residual"); },
      },
      layer);
}

}  // namespace alpa
