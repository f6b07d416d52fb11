#include <algorithm>

#include "alpa/base/overloaded.hpp"

#include "sections.hpp"

namespace alpa {
namespace {

using Layer = decltype(LayerConfig::layer);

constexpr std::int64_t kWidest = std::int64_t{1} << 24;

/// One operator of `model.layers`: how the value of its key is read and described.
struct LayerKind {
  std::string name;
  std::string help;
  ValueType<Layer> argument;
  bool bare = false;  ///< may be written without a value: `- relu`
};

std::optional<LayerConfig> read_layer(const Cursor& at);
YamlNode write_layer(const LayerConfig& layer);

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

ValueType<Layer> linear_type() {
  using L = LinearLayer;
  const auto activation =
      choice<Activation>({Activation::gelu, Activation::gelu_tanh, Activation::relu});
  return alternative(
      section(Section<L>({
          key("out", &L::out, integer(1, kWidest), "outputs").must_be_given(),
          key("activation", &L::activation, word_or("none", activation), "applied to the outputs"),
          key("bias", &L::bias, boolean(), "add a bias"),
      })),
      L{});
}

ValueType<Layer> norm_type(Norm kind) {
  return alternative(section(Section<NormLayer>(
                         {key("epsilon", &NormLayer::epsilon, number({.min = 0, .open_min = true}),
                              "added to the variance")})),
                     NormLayer{.kind = kind});
}

ValueType<Layer> activation_type(Activation kind) {
  return alternative(section(Section<ActivationLayer>({})), ActivationLayer{kind});
}

ValueType<Layer> dropout_type() {
  return alternative(section(Section<DropoutLayer>(
                         {key("p", &DropoutLayer::p, number({.min = 0, .max = 1, .open_max = true}),
                              "share of elements set to 0")
                              .must_be_given()})),
                     DropoutLayer{});
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

const std::vector<LayerKind>& layer_kinds() {
  static const std::vector<LayerKind> kinds = {
      {"linear", "matrix product over the last dimension", linear_type()},
      {"layer_norm", "mean 0, variance 1, then scale and shift", norm_type(Norm::layer), true},
      {"rms_norm", "root mean square 1, then scale", norm_type(Norm::rms), true},
      {"gelu", "exact, with erf", activation_type(Activation::gelu), true},
      {"gelu_tanh", "approximation with tanh", activation_type(Activation::gelu_tanh), true},
      {"relu", "max(x, 0)", activation_type(Activation::relu), true},
      {"dropout", "in training only", dropout_type()},
      {"add", "sum of the layers named in `input`",
       alternative(section(Section<AddLayer>({})), AddLayer{}), true},
      {"repeat", "`block`, a list of layers, so many times", repeat_type()},
      {"residual", "x + the layers of the list applied to x", residual_type()},
  };
  return kinds;
}

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (const LayerKind& kind : layer_kinds()) names.push_back(kind.name);
  return names;
}

const LayerKind* kind_named(std::string_view name) {
  const auto& kinds = layer_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(),
                                  [name](const LayerKind& kind) { return kind.name == name; });
  return found == kinds.end() ? nullptr : &*found;
}

std::string kind_name_of(const Layer& layer) {
  return std::visit(overloaded{
                        [](const LinearLayer&) { return std::string("linear"); },
                        [](const NormLayer& norm) {
                          return std::string(norm.kind == Norm::layer ? "layer_norm" : "rms_norm");
                        },
                        [](const ActivationLayer& a) { return std::string(name_of(a.kind)); },
                        [](const DropoutLayer&) { return std::string("dropout"); },
                        [](const AddLayer&) { return std::string("add"); },
                        [](const RepeatLayer&) { return std::string("repeat"); },
                        [](const ResidualLayer&) { return std::string("residual"); },
                    },
                    layer);
}

/// `- relu`
std::optional<LayerConfig> read_bare(const Cursor& at) {
  const LayerKind* kind = kind_named(at.node.text);
  if (kind == nullptr || !kind->bare) {
    std::vector<std::string> bare;
    for (const LayerKind& candidate : layer_kinds()) {
      if (candidate.bare) bare.push_back(candidate.name);
    }
    detail::with_words(at, detail::joined_words(bare) + ", or a mapping with one operator", bare)
        .refuse("");
    return std::nullopt;
  }
  YamlNode nothing;
  nothing.place = at.node.place;
  auto layer = kind->argument.read({nothing, at.path, at.errors});
  return layer ? std::make_optional(LayerConfig{std::move(*layer), {}, {}}) : std::nullopt;
}

void read_block(const Cursor& at, RepeatLayer& repeat) {
  for (std::size_t i = 0; i < at.node.keys.size(); ++i) {
    if (at.node.keys[i].text != "block") continue;
    auto block = layers_type().read(at.item(i));
    if (block) repeat.block = std::move(*block);
    return;
  }
  at.errors.add(at.node.place, path_of_key(at.path, "block"),
                "found nothing, expected " + layers_type().expected);
}

/// Index of the one operator among the keys of a layer; reports none and more than one.
std::optional<std::size_t> find_operator(const Cursor& at) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < at.node.keys.size(); ++i) {
    const YamlKey& entry = at.node.keys[i];
    if (kind_named(entry.text) == nullptr) continue;
    if (found) {
      at.errors.add(entry.place, path_of_key(at.path, entry.text),
                    "found a second operator, expected one in each entry of the list");
    } else {
      found = i;
    }
  }
  return found;
}

std::optional<LayerConfig> read_layer(const Cursor& at) {
  if (at.is(YamlNode::Kind::scalar)) return read_bare(at);
  if (!at.is(YamlNode::Kind::mapping)) {
    at.refuse("a layer: " + detail::joined_words(kind_names()));
    return std::nullopt;
  }
  const std::optional<std::size_t> found = find_operator(at);
  std::vector<std::string> known = kind_names();
  known.insert(known.end(), {"name", "input"});
  if (found && at.node.keys[*found].text == "repeat") known.emplace_back("block");
  const std::size_t before = at.errors.size();
  refuse_unknown_keys(at, known);
  if (!found) {
    if (at.errors.size() == before) {
      at.refuse("a mapping without an operator", detail::joined_words(kind_names()));
    }
    return std::nullopt;
  }

  LayerConfig layer;
  for (std::size_t i = 0; i < at.node.keys.size(); ++i) {
    if (at.node.keys[i].text == "name") {
      layer.name = text().read(at.item(i)).value_or("");
    } else if (at.node.keys[i].text == "input") {
      auto input = list_of(text(), "a list of names", 1).read(at.item(i));
      if (input) layer.input = std::move(*input);
    }
  }
  auto value = kind_named(at.node.keys[*found].text)->argument.read(at.item(*found));
  if (value) layer.layer = std::move(*value);
  if (auto* repeat = std::get_if<RepeatLayer>(&layer.layer)) read_block(at, *repeat);
  return layer;
}

YamlNode write_layer(const LayerConfig& layer) {
  YamlNode node = YamlNode::mapping();
  const std::string kind = kind_name_of(layer.layer);
  node.set(kind, kind_named(kind)->argument.write(layer.layer));
  if (const auto* repeat = std::get_if<RepeatLayer>(&layer.layer)) {
    node.set("block", layers_type().write(repeat->block));
  }
  if (!layer.name.empty()) node.set("name", YamlNode::of_text(layer.name));
  if (!layer.input.empty()) node.set("input", list_of(text(), "").write(layer.input));
  return node;
}

}  // namespace

bool RepeatLayer::operator==(const RepeatLayer& other) const {
  return count == other.count && block == other.block;
}
bool ResidualLayer::operator==(const ResidualLayer& other) const { return body == other.body; }
bool LayerConfig::operator==(const LayerConfig& other) const {
  return layer == other.layer && name == other.name && input == other.input;
}

ValueType<std::vector<LayerConfig>> layers_type() {
  ValueType<LayerConfig> entry;
  entry.expected = "a layer";
  entry.read = read_layer;
  entry.write = write_layer;
  return list_of(entry, "a list of one layer or more", 1);
}

std::vector<KeyHelp> layer_help() {
  std::vector<KeyHelp> help;
  for (const LayerKind& kind : layer_kinds()) {
    const bool section = static_cast<bool>(kind.argument.keys);
    help.push_back({kind.name, section ? "" : kind.argument.expected, "", kind.help});
    if (!section) continue;
    for (KeyHelp& nested : kind.argument.keys(Layer{})) {
      nested.path = kind.name + "." + nested.path;
      help.push_back(std::move(nested));
    }
  }
  help.push_back({"block", "a list of one layer or more", "", "beside repeat: what is repeated"});
  help.push_back({"name", "text", "none", "beside an operator: its name"});
  help.push_back({"input", "a list of names", "the layer before",
                  "beside an operator: earlier layers, or `input`, the model's input"});
  return help;
}

}  // namespace alpa
