#include "sections.hpp"

// Inputs and outputs of free models.
namespace alpa {
namespace {

constexpr std::int64_t kWidest = std::int64_t{1} << 24;

ValueType<InputConfig> input_type() {
  using I = InputConfig;
  return section(Section<I>({
      key("shape", &I::shape, list_of(integer(1, kWidest), "a list of sizes, of one sample"),
          "of one sample")
          .must_be_given(),
      key("type", &I::type, choice<I::Type>(), "of its elements"),
  }));
}

/// As written: the field is under the key that its loss takes.
struct WrittenOutput {
  std::string layer;
  Loss loss = Loss::cross_entropy;
  std::optional<std::string> labels = {}, targets = {};
  double weight = 1.0;
};

Section<WrittenOutput> output_section() {
  using O = WrittenOutput;
  return Section<O>({
      key("layer", &O::layer, text(), "name of a layer").must_be_given(),
      key("loss", &O::loss, choice<Loss>(), "what it is compared by"),
      key("labels", &O::labels, if_given(text()), "cross_entropy: field of the right classes"),
      key("targets", &O::targets, if_given(text()), "squared_error: field of the right values"),
      key("weight", &O::weight, number({.min = 0, .open_min = true}), "in the sum of losses"),
  });
}

std::optional<OutputConfig> read_output(const Cursor& at) {
  const std::size_t before = at.errors.size();
  WrittenOutput written;
  output_section().read(at, written);
  if (at.errors.size() != before) return std::nullopt;
  const bool classes = written.loss == Loss::cross_entropy;
  const auto& field = classes ? written.labels : written.targets;
  const auto& other = classes ? written.targets : written.labels;
  const std::string wanted = classes ? "labels" : "targets";
  if (other) {
    at.errors.add(at.node.place, path_of_key(at.path, classes ? "targets" : "labels"),
                  "found " + *other + ", expected the key " + wanted + " with loss " +
                      std::string(name_of(written.loss)));
    return std::nullopt;
  }
  return OutputConfig{written.layer, written.loss, field.value_or(wanted), written.weight};
}

YamlNode write_output(const OutputConfig& output) {
  WrittenOutput written{.layer = output.layer, .loss = output.loss, .weight = output.weight};
  (output.loss == Loss::cross_entropy ? written.labels : written.targets) = output.field;
  return output_section().write(written);
}

}  // namespace

ValueType<std::vector<std::pair<std::string, InputConfig>>> inputs_type() {
  using Inputs = std::vector<std::pair<std::string, InputConfig>>;
  ValueType<Inputs> type;
  type.expected = "a mapping of names to {shape, type}";
  type.read = [expected = type.expected](const Cursor& at) -> std::optional<Inputs> {
    if (!at.is(YamlNode::Kind::mapping)) {
      at.refuse(expected);
      return std::nullopt;
    }
    Inputs inputs;
    for (std::size_t i = 0; i < at.node.items.size(); ++i) {
      auto input = input_type().read(at.item(i));
      if (input) inputs.emplace_back(at.node.keys[i].text, std::move(*input));
    }
    return inputs;
  };
  type.write = [](const Inputs& inputs) {
    YamlNode node = YamlNode::mapping();
    for (const auto& [name, input] : inputs) node.set(name, input_type().write(input));
    return node;
  };
  return type;
}

ValueType<std::vector<OutputConfig>> outputs_type() {
  ValueType<OutputConfig> entry;
  entry.expected = "a mapping";
  entry.read = read_output;
  entry.write = write_output;
  return list_of(entry, "a list of {layer, loss, labels or targets, weight}");
}

}  // namespace alpa
