#include "layer_kinds.hpp"

namespace alpa {
namespace {

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (const LayerKind& kind : layer_kinds()) names.push_back(kind.name);
  return names;
}

/// `- relu`
std::optional<LayerConfig> read_bare(const Cursor& at) {
  const LayerKind* kind = layer_kind_named(at.node.text);
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
  return layer ? std::make_optional(LayerConfig{std::move(*layer)}) : std::nullopt;
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
    if (layer_kind_named(entry.text) == nullptr) continue;
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
  if (found && layer_kind_named(at.node.keys[*found].text)->owns_parameters) {
    known.emplace_back("parameters");
  }
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
    } else if (at.node.keys[i].text == "parameters") {
      layer.parameters = text().read(at.item(i)).value_or("");
    }
  }
  auto value = layer_kind_named(at.node.keys[*found].text)->argument.read(at.item(*found));
  if (value) layer.layer = std::move(*value);
  if (auto* repeat = std::get_if<RepeatLayer>(&layer.layer)) read_block(at, *repeat);
  return layer;
}

YamlNode write_layer(const LayerConfig& layer) {
  YamlNode node = YamlNode::mapping();
  const std::string kind = layer_kind_name(layer.layer);
  node.set(kind, layer_kind_named(kind)->argument.write(layer.layer));
  if (const auto* repeat = std::get_if<RepeatLayer>(&layer.layer)) {
    node.set("block", layers_type().write(repeat->block));
  }
  if (!layer.name.empty()) node.set("name", YamlNode::of_text(layer.name));
  if (!layer.input.empty()) node.set("input", list_of(text(), "").write(layer.input));
  if (!layer.parameters.empty()) node.set("parameters", YamlNode::of_text(layer.parameters));
  return node;
}

}  // namespace

bool RepeatLayer::operator==(const RepeatLayer& other) const {
  return count == other.count && block == other.block;
}
bool ResidualLayer::operator==(const ResidualLayer& other) const { return body == other.body; }
bool LayerConfig::operator==(const LayerConfig& other) const {
  return layer == other.layer && name == other.name && input == other.input &&
         parameters == other.parameters;
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
    for (KeyHelp& nested : kind.argument.keys(LayerVariant{})) {
      nested.path = kind.name + "." + nested.path;
      help.push_back(std::move(nested));
    }
  }
  help.push_back({"block", "a list of one layer or more", "", "beside repeat: what is repeated"});
  help.push_back({"name", "text", "none", "beside an operator: its name"});
  help.push_back({"input", "a list of names", "the layer before",
                  "beside an operator: earlier layers, inputs of the model, or `input`, its one"});
  help.push_back({"parameters", "text", "none",
                  "beside an operator: an earlier layer whose parameters it uses, too"});
  return help;
}

}  // namespace alpa
