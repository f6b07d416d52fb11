#include <algorithm>
#include <cmath>
#include <map>

#include "alpa/base/error.hpp"
#include "alpa/base/overloaded.hpp"

#include "layers.hpp"

// Letters: b batch, i features; widths alternate between e and f, so that splitting f gives pairs
// of products split by columns, then by rows; c the outputs.
namespace alpa::model {
namespace {

using Names = std::map<std::string, Value>;

bool is_linear(const LayerConfig& config) {
  return std::holds_alternative<LinearLayer>(config.layer);
}

bool has_residual(const Line& line) {
  return std::any_of(line.entries.begin(), line.entries.end(), [](const LineEntry& entry) {
    return std::holds_alternative<ResidualLayer>(entry.config.layer);
  });
}

/// Index of the last linear of a list, or its length.
std::size_t last_linear(const std::vector<LayerConfig>& layers) {
  const auto found = std::find_if(layers.rbegin(), layers.rend(), is_linear);
  return found == layers.rend() ? layers.size()
                                : static_cast<std::size_t>(layers.rend() - found) - 1;
}

class LineBuilder {
 public:
  LineBuilder(GraphBuilder& builder, const Line& line, const ModelOptions& options)
      : context_{builder,          options.seed,
                 line.initializer, 1.0 / std::sqrt(2.0 * static_cast<double>(line.entries.size())),
                 builder.dtype(),  options.label_smoothing},
        first_letter_(has_residual(line) ? 'e' : 'f') {}

  Value build(const std::vector<LineEntry>& entries, const Value& input) {
    Names names{{"input", input}};
    Value x = input;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::string path = "layers." + std::to_string(i);
      context_.builder.at(static_cast<int>(i));
      is_output_ = i + 1 == entries.size() && is_linear(entries[i].config);
      x = layer(entries[i].config, x, path, names);
      x = dropout(context_, x, entries[i].dropout, path + ".dropout");
    }
    return x;
  }

  [[nodiscard]] const Context& context() const { return context_; }

 private:
  Value layer(const LayerConfig& config, const Value& before, const std::string& path,
              Names& names) {
    const std::string name = config.name.empty() ? path : path + "." + config.name;
    const std::vector<Value> inputs = inputs_of(config, before, path, names);
    const Value x = inputs.front();
    const Value y = std::visit(
        overloaded{
            [&](const LinearLayer& l) { return add_linear(l, x, name); },
            [&](const NormLayer& l) {
              return norm(context_, x, {l.kind, true, l.epsilon}, name + ".norm");
            },
            [&](const ActivationLayer& l) { return activation(context_, x, l.kind, name); },
            [&](const DropoutLayer& l) { return dropout(context_, x, l.p, name + ".dropout"); },
            [&](const AddLayer&) { return add_all(inputs, name); },
            [&](const RepeatLayer& l) { return repeated(l, x, name, names); },
            [&](const ResidualLayer& l) { return residual(l, x, name, names); },
        },
        config.layer);
    if (!config.name.empty()) names.insert_or_assign(config.name, y);
    return y;
  }

  static std::vector<Value> inputs_of(const LayerConfig& config, const Value& before,
                                      const std::string& path, const Names& names) {
    if (config.input.empty()) return {before};
    std::vector<Value> values;
    for (const std::string& name : config.input) {
      const auto found = names.find(name);
      if (found == names.end()) {
        throw UserError("model." + path + ": input " + name + " is no earlier layer");
      }
      values.push_back(found->second);
    }
    return values;
  }

  Value add_linear(const LinearLayer& config, const Value& x, const std::string& name) {
    const char out = is_output_          ? 'c'
                     : x.letter() == 'i' ? first_letter_
                     : x.letter() == 'e' ? 'f'
                                         : 'e';
    const Value y = linear(context_, x,
                           {.name = name + ".linear",
                            .inputs = Dims(1, x.letter()),
                            .outputs = Dims(1, out),
                            .output_shape = {config.out},
                            .bias = config.bias,
                            .ends_residual = ends_residual_});
    return config.activation ? activation(context_, y, *config.activation, name) : y;
  }

  void check_equal_widths(const Value& x, const Value& y, const std::string& name) const {
    if (context_.width(x) == context_.width(y)) return;
    throw UserError("model." + name + ": cannot add " + std::to_string(context_.width(x)) +
                    " and " + std::to_string(context_.width(y)) +
                    " outputs; both must have the same number");
  }

  Value add_all(const std::vector<Value>& inputs, const std::string& name) {
    Value total = inputs.front();
    for (std::size_t i = 1; i < inputs.size(); ++i) {
      check_equal_widths(total, inputs[i], name);
      total = sum(context_, total, inputs[i], name + ".add" + (i == 1 ? "" : std::to_string(i)));
    }
    return total;
  }

  /// A list inside a layer; its names are known inside only.
  Value list(const std::vector<LayerConfig>& layers, Value x, const std::string& prefix,
             Names names) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      x = layer(layers[i], x, prefix + "." + std::to_string(i), names);
    }
    return x;
  }

  Value repeated(const RepeatLayer& config, Value x, const std::string& name, const Names& names) {
    for (std::int64_t i = 0; i < config.count; ++i) {
      x = list(config.block, x, name + "." + std::to_string(i), names);
    }
    return x;
  }

  Value residual(const ResidualLayer& config, const Value& x, const std::string& name,
                 const Names& outer) {
    const std::size_t last = last_linear(config.body);
    Names names = outer;
    Value y = x;
    for (std::size_t i = 0; i < config.body.size(); ++i) {
      ends_residual_ = last == i;
      y = layer(config.body[i], y, name + "." + std::to_string(i), names);
      ends_residual_ = false;
    }
    check_equal_widths(x, y, name);
    return sum(context_, x, y, name + ".residual");
  }

  Context context_;
  char first_letter_;
  bool is_output_ = false;
  bool ends_residual_ = false;
};

void append_to_line(const std::vector<LayerConfig>& layers, std::vector<LineEntry>& line) {
  for (const LayerConfig& config : layers) {
    const auto* repeat = std::get_if<RepeatLayer>(&config.layer);
    if (repeat == nullptr) {
      line.push_back({config});
      continue;
    }
    for (std::int64_t i = 0; i < repeat->count; ++i) append_to_line(repeat->block, line);
  }
}

LayerConfig linear_of(std::int64_t out, std::optional<Activation> kind, bool bias) {
  return {.layer = LinearLayer{out, kind, bias}, .name = "", .input = {}};
}

}  // namespace

Line line_of(const CustomConfig& config) {
  Line line{.entries = {}, .loss = config.loss, .initializer = config.initializer};
  append_to_line(config.layers, line.entries);
  return line;
}

Line line_of(const MlpConfig& config) {
  Line line{.entries = {}, .loss = config.loss, .initializer = config.initializer};
  const LayerConfig hidden = linear_of(config.hidden, config.activation, config.bias);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    line.entries.push_back({hidden, config.dropout});
  }
  line.entries.push_back({linear_of(config.classes, std::nullopt, config.bias)});
  return line;
}

TensorId build_line(GraphBuilder& builder, const Line& line, const ModelOptions& options) {
  if (!options.features) {
    throw UserError(
        "model.layers: the number of features is not known; set data.synthetic.features");
  }
  builder.set_parallel_letters("f");
  builder.at(0);
  const Shape shape{options.microbatch, *options.features};
  const Value input{builder.input("features", "bi", shape, builder.dtype()), "bi"};
  LineBuilder layers(builder, line, options);
  const Value output = layers.build(line.entries, input);
  return line.loss == Loss::cross_entropy ? cross_entropy(layers.context(), output)
                                          : squared_error(layers.context(), output);
}

}  // namespace alpa::model
