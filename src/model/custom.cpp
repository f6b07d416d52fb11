#include <algorithm>
#include <cmath>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/base/overloaded.hpp"
#include "alpa/config/schema.hpp"
#include "alpa/graph/training.hpp"

#include "free_layers.hpp"

// Letters: b batch, i features; widths alternate between e and f, so that splitting f gives pairs
// of products split by columns, then by rows; c the outputs.
namespace alpa::model {
namespace {

/// What a layer can be named for: its value, and where its parameters are.
struct Named {
  Value value;
  std::string parameters;  ///< prefix of their names
};
using Names = std::map<std::string, Named>;

bool is_linear(const LayerConfig& config) {
  return std::holds_alternative<LinearLayer>(config.layer);
}

/// Layers that make a dimension of their own.
bool widens(const LayerConfig& config) {
  return std::visit(
      overloaded{[](const LinearLayer&) { return true; }, [](const EinsumLayer&) { return true; },
                 [](const EmbeddingLayer&) { return true; },
                 [](const ConvolutionLayer&) { return true; },
                 [](const AttentionLayer&) { return true; }, [](const auto&) { return false; }},
      config.layer);
}

bool has_attention(const std::vector<LayerConfig>& layers);

bool has_attention(const LayerConfig& config) {
  if (const auto* repeat = std::get_if<RepeatLayer>(&config.layer)) {
    return has_attention(repeat->block);
  }
  if (const auto* residual = std::get_if<ResidualLayer>(&config.layer)) {
    return has_attention(residual->body);
  }
  return std::holds_alternative<AttentionLayer>(config.layer);
}

bool has_attention(const std::vector<LayerConfig>& layers) {
  return std::any_of(layers.begin(), layers.end(),
                     [](const LayerConfig& layer) { return has_attention(layer); });
}

bool has_attention(const Line& line) {
  return std::any_of(line.entries.begin(), line.entries.end(),
                     [](const LineEntry& entry) { return has_attention(entry.config); });
}

bool has_residual(const Line& line) {
  return std::any_of(line.entries.begin(), line.entries.end(), [](const LineEntry& entry) {
    return std::holds_alternative<ResidualLayer>(entry.config.layer);
  });
}

/// Index of the last layer of a list whose weights end it, or its length.
std::size_t last_weights(const std::vector<LayerConfig>& layers) {
  const auto found = std::find_if(layers.rbegin(), layers.rend(), widens);
  return found == layers.rend() ? layers.size()
                                : static_cast<std::size_t>(layers.rend() - found) - 1;
}

class LineBuilder {
 public:
  LineBuilder(GraphBuilder& builder, const Line& line, const ModelOptions& options)
      : context_{builder,          options.seed,
                 line.initializer, 1.0 / std::sqrt(2.0 * static_cast<double>(line.entries.size())),
                 builder.dtype(),  options.label_smoothing},
        line_(line),
        first_letter_(has_residual(line) ? 'e' : 'f') {}

  /// Returns the last value; `names` gets those of the line.
  Value build(Names& names, const Value& input) {
    Value x = input;
    const auto& entries = line_.entries;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::string name = "layers." + std::to_string(i);
      context_.builder.at(static_cast<int>(i));
      is_output_ = i + 1 == entries.size() && is_linear(entries[i].config) && line_.outputs.empty();
      x = layer(entries[i].config, x, name, entries[i].path, names);
      x = dropout(context_, x, entries[i].dropout, name + ".dropout");
    }
    return x;
  }

  [[nodiscard]] const Context& context() const { return context_; }

 private:
  Value layer(const LayerConfig& config, const Value& before, const std::string& path,
              const std::string& place, Names& names) {
    const std::string name = config.name.empty() ? path : path + "." + config.name;
    const std::vector<Value> inputs = inputs_of(config, before, place, names);
    Value y;
    std::string parameters = name + ".";
    if (const auto* repeat = std::get_if<RepeatLayer>(&config.layer)) {
      y = repeated(*repeat, inputs.front(), name, place, names);
    } else if (const auto* body = std::get_if<ResidualLayer>(&config.layer)) {
      y = residual(*body, inputs.front(), name, place, names);
    } else {
      if (!config.parameters.empty()) {
        parameters = owner_of(config.parameters, place, names);
        context_.builder.share_parameters(name + ".", parameters);
      }
      y = simple(config, inputs, name, place);
    }
    if (!config.name.empty()) names.insert_or_assign(config.name, Named{y, parameters});
    return y;
  }

  Value simple(const LayerConfig& config, const std::vector<Value>& inputs, const std::string& name,
               const std::string& place) {
    const std::string called = config.name.empty() ? "" : " named " + config.name;
    const FreeLayer at{context_, name, place + called, next_letter(inputs.front()), ends_residual_};
    try {
      return std::visit(
          [&]<class L>(const L& layer) -> Value {
            if constexpr (requires { model::build(at, layer, inputs); }) {
              return model::build(at, layer, inputs);
            } else if constexpr (requires { model::build(at, layer, inputs.front()); }) {
              return model::build(at, layer, inputs.front());
            } else {
              check_failed("a layer without layers inside", SourceLine::here());
            }
          },
          config.layer);
    } catch (const UserError& error) {
      const std::string text = error.what();
      if (text.starts_with(at.where)) throw;
      throw UserError(at.where + ": " + text);
    }
  }

  [[nodiscard]] char next_letter(const Value& x) const {
    if (is_output_) return 'c';
    if (x.letter() == 'i' || x.letter() == 'b') return first_letter_;
    return x.letter() == 'e' ? 'f' : 'e';
  }

  static std::vector<Value> inputs_of(const LayerConfig& config, const Value& before,
                                      const std::string& place, const Names& names) {
    if (config.input.empty()) return {before};
    std::vector<Value> values;
    for (const std::string& name : config.input) {
      const auto found = names.find(name);
      if (found == names.end()) {
        throw UserError(place + ": input " + name + " is no earlier layer");
      }
      values.push_back(found->second.value);
    }
    return values;
  }

  static std::string owner_of(const std::string& layer, const std::string& place,
                              const Names& names) {
    const auto found = names.find(layer);
    if (found == names.end() || found->second.parameters.empty()) {
      throw UserError(place + ": parameters " + layer + " is no earlier layer");
    }
    return found->second.parameters;
  }

  /// A list inside a layer; its names are known inside only.
  Value list(const std::vector<LayerConfig>& layers, Value x, const std::string& prefix,
             const std::string& place, Names names) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      x = layer(layers[i], x, prefix + "." + std::to_string(i), path_of_item(place, i), names);
    }
    return x;
  }

  Value repeated(const RepeatLayer& config, Value x, const std::string& name,
                 const std::string& place, const Names& names) {
    for (std::int64_t i = 0; i < config.count; ++i) {
      x = list(config.block, x, name + "." + std::to_string(i), place + ".block", names);
    }
    return x;
  }

  Value residual(const ResidualLayer& config, const Value& x, const std::string& name,
                 const std::string& place, const Names& outer) {
    const std::size_t last = last_weights(config.body);
    Names names = outer;
    Value y = x;
    for (std::size_t i = 0; i < config.body.size(); ++i) {
      ends_residual_ = last == i;
      y = layer(config.body[i], y, name + "." + std::to_string(i),
                path_of_item(place + ".residual", i), names);
      ends_residual_ = false;
    }
    const Shape before = sample_shape(context_, x), after = sample_shape(context_, y);
    if (before != after) {
      throw UserError(place + " (residual): found shapes " + to_string(before) + " before and " +
                      to_string(after) + " after its layers, expected equal ones to add");
    }
    return sum(context_, x, y, name + ".residual");
  }

  Context context_;
  const Line& line_;
  char first_letter_;
  bool is_output_ = false;
  bool ends_residual_ = false;
};

void append_to_line(const std::vector<LayerConfig>& layers, const std::string& path,
                    std::vector<LineEntry>& line) {
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerConfig& config = layers[l];
    const std::string place = path_of_item(path, l);
    const auto* repeat = std::get_if<RepeatLayer>(&config.layer);
    if (repeat == nullptr) {
      line.push_back({config, 0.0, place});
      continue;
    }
    for (std::int64_t i = 0; i < repeat->count; ++i) {
      append_to_line(repeat->block, place + ".block", line);
    }
  }
}

LayerConfig linear_of(std::int64_t out, std::optional<Activation> kind, bool bias) {
  return {.layer = LinearLayer{out, kind, bias}};
}

/// The model's inputs by name; the first is where the line starts.
Value add_inputs(GraphBuilder& builder, const Line& line, const ModelOptions& options,
                 Names& names) {
  if (line.inputs.empty()) {
    if (!options.features) {
      throw UserError(
          "model.layers: the number of features is not known; set data.synthetic.features or name "
          "what the model takes in model.inputs");
    }
    const Shape shape{options.microbatch, *options.features};
    const Value input{builder.input("features", "bi", shape, builder.dtype()), "bi"};
    names["input"] = {input, ""};
    return input;
  }
  for (const auto& [name, config] : line.inputs) {
    Shape shape{options.microbatch};
    shape.insert(shape.end(), config.shape.begin(), config.shape.end());
    const bool integer = config.type == InputConfig::Type::integer;
    const Dims dims = value_dims(shape.size(), integer ? 'x' : 'i');
    const DType dtype = integer ? DType::i32 : builder.dtype();
    names[name] = {{builder.input(name, dims, shape, dtype), dims}, ""};
  }
  const Value first = names.at(line.inputs.front().first).value;
  if (line.inputs.size() == 1) names.try_emplace("input", Named{first, ""});
  return first;
}

}  // namespace

Line line_of(const CustomConfig& config) {
  Line line{.entries = {},
            .loss = config.loss,
            .initializer = config.initializer,
            .inputs = config.inputs,
            .outputs = config.outputs};
  append_to_line(config.layers, "model.layers", line.entries);
  return line;
}

Line line_of(const MlpConfig& config) {
  Line line{.entries = {}, .loss = config.loss, .initializer = config.initializer};
  const LayerConfig hidden = linear_of(config.hidden, config.activation, config.bias);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    line.entries.push_back({hidden, config.dropout, "model"});
  }
  line.entries.push_back({linear_of(config.classes, std::nullopt, config.bias), 0.0, "model"});
  return line;
}

std::vector<TensorId> build_line(GraphBuilder& builder, const Line& line,
                                 const ModelOptions& options) {
  builder.set_parallel_letters(has_attention(line) ? "hf" : "f");
  builder.at(0);
  Names names;
  const Value input = add_inputs(builder, line, options, names);
  LineBuilder layers(builder, line, options);
  const Value last = layers.build(names, input);
  if (line.outputs.empty()) {
    return {line.loss == Loss::cross_entropy ? cross_entropy(layers.context(), last)
                                             : squared_error(layers.context(), last)};
  }
  std::vector<TensorId> losses;
  for (std::size_t i = 0; i < line.outputs.size(); ++i) {
    const std::string path = path_of_item("model.outputs", i);
    const auto found = names.find(line.outputs[i].layer);
    if (found == names.end()) {
      throw UserError(path + ".layer: " + line.outputs[i].layer + " is no layer of model.layers");
    }
    losses.push_back(output_loss(layers.context(), line.outputs[i], found->second.value, path));
  }
  return losses;
}

}  // namespace alpa::model
