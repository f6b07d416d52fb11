#include "model_sizes.hpp"
#include "sections.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kMostLayers = 100'000;
constexpr std::int64_t kWidest = std::int64_t{1} << 24;
constexpr std::int64_t kLargest = std::int64_t{1} << 31;
constexpr NumberRange kShare{.min = 0, .max = 1, .open_max = true};
constexpr NumberRange kPositive{.min = 0, .open_min = true};

const std::vector<Activation> kElementwise = {Activation::gelu, Activation::gelu_tanh,
                                              Activation::relu, Activation::silu, Activation::tanh};

ValueType<InitializerConfig> initializer_type() {
  using I = InitializerConfig;
  return section(Section<I>({
      key("std", &I::std, word_or("auto", number(kPositive)),
          "standard deviation of weights; auto: 1/sqrt(inputs)"),
      key("scale_residual", &I::scale_residual, boolean(),
          "divide by sqrt(2 layers) where a residual branch ends"),
  }));
}

ValueType<MoeConfig> moe_type() {
  using M = MoeConfig;
  return section(Section<M>({
      key("experts", &M::experts, integer(1, kWidest), "feed-forwards to choose from"),
      key("every", &M::every, integer(1, kMostLayers),
          "each so many-th layer has experts, the others one feed-forward"),
      key("top_k", &M::top_k, integer(1, kWidest), "experts of a token"),
      key("group", &M::group, integer(1, kLargest), "tokens routed together, by global index"),
      key("capacity_factor", &M::capacity_factor, number(kPositive),
          "slots of an expert = ceil(factor * top_k * group / experts)"),
      key("evaluation_capacity_factor", &M::evaluation_capacity_factor, number(kPositive),
          "the same in evaluations"),
      key("overflow", &M::overflow, choice<Overflow>(),
          "a token without a slot keeps its residual only"),
      key("auxiliary_loss", &M::auxiliary_loss, number({.min = 0}),
          "weight of the load balance loss, the mean over groups"),
      key("router_precision", &M::router_precision, choice<RouterPrecision>(),
          "type the router computes in"),
  }));
}

Section<TransformerConfig> transformer_section(bool with_experts) {
  using T = TransformerConfig;
  std::vector<Key<T>> keys = {
      key("layers", &T::layers, integer(1, kMostLayers), "transformer layers"),
      key("hidden", &T::hidden, integer(1, kWidest), "width of the residual stream"),
      key("heads", &T::heads, integer(1, kWidest), "attention heads; divides hidden"),
      key("key_value_heads", &T::key_value_heads, if_given(integer(1, kWidest)),
          "heads of keys and values, each for heads / key_value_heads queries; default: heads"),
      key("feed_forward", &T::feed_forward, integer(1, kWidest), "width inside a feed-forward")
          .with_default_text("4 * hidden"),
      key("vocabulary", &T::vocabulary, integer(2, kLargest), "different tokens"),
      key("sequence", &T::sequence, integer(1, kWidest), "tokens of a sample"),
      key("positions", &T::positions, choice<Positions>(), "how tokens know their position"),
      key("rotary_base", &T::rotary_base, number({.min = 1, .open_min = true}),
          "rotary: base of the wavelengths"),
      key("norm", &T::norm, choice<Norm>(), "layer norm or root mean square"),
      key("norm_epsilon", &T::norm_epsilon, number(kPositive), "added to the variance"),
      key("norm_position", &T::norm_position, choice<NormPosition>(),
          "before each branch, or after each sum"),
      key("activation", &T::activation, choice<Activation>(),
          "of feed-forwards; gelu is the exact one"),
      key("bias", &T::bias, boolean(), "in linear layers and norms"),
      key("tied_embedding", &T::tied_embedding, boolean(), "logits use the embedding's weights"),
      key("dropout", &T::dropout, number(kShare), "after embedding, attention and feed-forward"),
      key("initializer", &T::initializer, initializer_type(), ""),
  };
  if (with_experts) keys.push_back(key("moe", &T::moe, if_given(moe_type()), ""));
  return Section<T>(std::move(keys));
}

Section<MlpConfig> mlp_section() {
  using M = MlpConfig;
  return Section<M>({
      key("layers", &M::layers, integer(0, kMostLayers), "hidden layers"),
      key("hidden", &M::hidden, integer(1, kWidest), "width of each hidden layer"),
      key("features", &M::features, integer(1, kWidest), "inputs of a sample"),
      key("classes", &M::classes, integer(1, kWidest), "outputs"),
      key("activation", &M::activation, choice<Activation>(kElementwise), "of hidden layers"),
      key("bias", &M::bias, boolean(), "in linear layers"),
      key("dropout", &M::dropout, number(kShare), "after each activation"),
      key("loss", &M::loss, choice<Loss>(), "mean over samples"),
      key("initializer", &M::initializer, initializer_type(), ""),
  });
}

ValueType<BatchNormConfig> batch_norm_type() {
  using B = BatchNormConfig;
  return section(Section<B>({
      key("group", &B::group, integer(1, kLargest),
          "consecutive samples of the global batch that share statistics"),
      key("momentum", &B::momentum, number(kShare), "what stays of running statistics in a step"),
      key("epsilon", &B::epsilon, number(kPositive), "added to variances"),
  }));
}

Section<WideResnetConfig> wide_resnet_section() {
  using W = WideResnetConfig;
  return Section<W>({
      key("layers", &W::layers, integer(14, 152), "14, 26, 50, 101 or 152"),
      key("channels", &W::channels, integer(1, kWidest), "of the first block"),
      key("width", &W::width, integer(1, 1024), "factor on the channels of 3x3 convolutions"),
      key("image", &W::image, integer(32, 65536), "pixels a side"),
      key("classes", &W::classes, integer(2, kWidest), "outputs"),
      key("batch_norm", &W::batch_norm, batch_norm_type(), ""),
  });
}

Section<CustomConfig> custom_section() {
  using C = CustomConfig;
  return Section<C>({
      key("layers", &C::layers, layers_type(), "see --help model.layers").must_be_given(),
      key("inputs", &C::inputs, inputs_type(),
          "fields of the data by name: {NAME: {shape: [of a sample], type: real or integer}}; "
          "without them features [F]"),
      key("outputs", &C::outputs, outputs_type(),
          "values that count in the loss: [{layer: NAME, loss, labels or targets: FIELD, weight}]; "
          "without them the last layer"),
      key("loss", &C::loss, choice<Loss>(), "of the last layer, mean over samples"),
      key("initializer", &C::initializer, initializer_type(), ""),
  });
}

/// Calls `visit` with the section that describes the shape of `preset`.
template <class Visit>
auto with_section(Preset preset, Visit visit) {
  switch (preset) {
    case Preset::mlp:
      return visit(mlp_section());
    case Preset::wide_resnet:
      return visit(wide_resnet_section());
    case Preset::custom:
      return visit(custom_section());
    case Preset::gpt:
    case Preset::moe:
    case Preset::llama:
    case Preset::bert:
      break;
  }
  return visit(transformer_section(preset == Preset::moe));
}

Section<ModelConfig> head_section(Preset preset) {
  const auto size = word_or("none", one_of(published_sizes(preset)));
  return Section<ModelConfig>({
      key("preset", &ModelConfig::preset, choice<Preset>(), "family of models"),
      key("size", &ModelConfig::size, size, "a published size instead of the keys below"),
  });
}

std::optional<Preset> read_preset(const Cursor& at) {
  for (std::size_t i = 0; i < at.node.keys.size(); ++i) {
    if (at.node.keys[i].text == "preset") return choice<Preset>().read(at.item(i));
  }
  return Preset::gpt;
}

std::optional<ModelConfig> read_model(const Cursor& at) {
  if (at.is(YamlNode::Kind::invalid)) return std::nullopt;
  if (!at.is(YamlNode::Kind::mapping) && !at.is(YamlNode::Kind::null)) {
    at.refuse("a mapping");
    return std::nullopt;
  }
  const std::optional<Preset> preset = read_preset(at);
  if (!preset) return std::nullopt;  // which keys are right depends on it
  ModelConfig model = preset_defaults(*preset);
  const Section<ModelConfig> head = head_section(*preset);
  head.read_keys(at, model);
  if (model.size) apply_size(model, *model.size);
  with_section(*preset, [&]<class S>(const Section<S>& table) {
    table.read(at, std::get<S>(model.shape), head.names());
  });
  auto* transformer = std::get_if<TransformerConfig>(&model.shape);
  if (transformer != nullptr && !model.size && at.node.find("feed_forward") == nullptr) {
    transformer->feed_forward = 4 * transformer->hidden;
  }
  return model;
}

YamlNode write_model(const ModelConfig& model) {
  YamlNode node = head_section(model.preset).write(model);
  with_section(model.preset, [&]<class S>(const Section<S>& table) {
    const YamlNode shape = table.write(std::get<S>(model.shape));
    for (std::size_t i = 0; i < shape.items.size(); ++i) {
      node.set(shape.keys[i].text, shape.items[i]);
    }
  });
  return node;
}

}  // namespace

ModelConfig preset_defaults(Preset preset) {
  ModelConfig model;
  model.preset = preset;
  TransformerConfig transformer;
  switch (preset) {
    case Preset::mlp:
      model.shape = MlpConfig{};
      return model;
    case Preset::wide_resnet:
      model.shape = WideResnetConfig{};
      return model;
    case Preset::custom:
      model.shape = CustomConfig{};
      return model;
    case Preset::gpt:
      break;
    case Preset::moe:
      transformer.moe = MoeConfig{};
      break;
    case Preset::llama:
      transformer.positions = Positions::rotary;
      transformer.norm = Norm::rms;
      transformer.activation = Activation::swiglu;
      transformer.bias = false;
      transformer.tied_embedding = false;
      transformer.dropout = 0.0;
      break;
    case Preset::bert:
      transformer.encoder = true;
      transformer.norm_position = NormPosition::post;
      transformer.norm_epsilon = 1e-12;
      transformer.initializer.scale_residual = false;
      break;
  }
  model.shape = transformer;
  return model;
}

std::vector<KeyHelp> preset_help(Preset preset) {
  const ModelConfig model = preset_defaults(preset);
  std::vector<KeyHelp> help = head_section(preset).describe(model);
  with_section(preset, [&]<class S>(const Section<S>& table) {
    for (KeyHelp& entry : table.describe(std::get<S>(model.shape))) {
      help.push_back(std::move(entry));
    }
  });
  return help;
}

ValueType<ModelConfig> model_type() {
  ValueType<ModelConfig> type;
  type.expected = "a mapping";
  type.read = read_model;
  type.write = write_model;
  type.keys = [](const ModelConfig& model) { return preset_help(model.preset); };
  return type;
}

}  // namespace alpa
