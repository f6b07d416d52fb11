#include "alpa/model/build_graph.hpp"

#include <numeric>

#include "alpa/base/error.hpp"
#include "alpa/graph/training.hpp"

#include "groups.hpp"
#include "layers.hpp"

namespace alpa {
namespace {

DType dtype_of(Precision precision) {
  switch (precision) {
    case Precision::fp64:
      return DType::f64;
    case Precision::fp32:
    case Precision::tf32:
      return DType::f32;
    case Precision::bf16:
      return DType::bf16;
    case Precision::fp16:
      return DType::f16;
  }
  check_failed("known precision", SourceLine::here());
}

OptimizerSpec spec_of(const OptimizerConfig& config, std::optional<double> clip_norm) {
  std::vector<OptimizerGroup> groups;
  for (const ParameterGroup& group : config.groups) {
    groups.push_back({group.parameters, group.learning_rate_factor, group.weight_decay});
  }
  return {.kind = config.name,
          .momentum = config.momentum,
          .beta1 = config.betas[0],
          .beta2 = config.betas[1],
          .epsilon = config.epsilon,
          .relative_step = config.relative_step,
          .weight_decay = config.weight_decay,
          .no_decay = config.no_decay,
          .clip_norm = clip_norm.value_or(0.0),
          .groups = std::move(groups)};
}

/// Length of the line of layers.
int num_layers(std::int64_t layers) {
  if (layers < 1) throw UserError("model.layers: a model needs at least one layer");
  return static_cast<int>(layers);
}

std::vector<TensorId> all_of(TensorId loss) { return {loss}; }
std::vector<TensorId> all_of(std::vector<TensorId> losses) { return losses; }

template <class Build>
Graph finished(int layers, const OptimizerConfig& optimizer, const ModelOptions& options,
               Build build) {
  GraphBuilder builder(layers, options.microbatch, dtype_of(options.precision));
  const std::vector<TensorId> losses = all_of(build(builder));
  model::check_groups(builder.graph(), optimizer);
  add_training(builder, losses, spec_of(optimizer, options.clip_norm));
  return std::move(builder).build();
}

Graph graph_of_line(const model::Line& line, const OptimizerConfig& optimizer,
                    const ModelOptions& options) {
  const auto length = static_cast<std::int64_t>(line.entries.size());
  return finished(num_layers(length), optimizer, options,
                  [&](GraphBuilder& builder) { return model::build_line(builder, line, options); });
}

Graph graph_of_transformer(const TransformerConfig& config, const OptimizerConfig& optimizer,
                           const ModelOptions& options, const std::vector<int>& layers) {
  const auto made = [&](bool evaluation) {
    const auto length = static_cast<std::int64_t>(layers.size());
    return finished(num_layers(length), optimizer, options, [&](GraphBuilder& builder) {
      return model::build_transformer(builder, config, options, evaluation, layers);
    });
  };
  Graph graph = made(false);
  if (config.moe &&
      model::expert_capacity(*config.moe, true) != model::expert_capacity(*config.moe, false)) {
    graph.evaluation = std::make_shared<const Graph>(made(true));
  }
  return graph;
}

std::vector<int> all_layers(const TransformerConfig& config) {
  std::vector<int> layers(static_cast<std::size_t>(num_layers(config.layers)));
  std::iota(layers.begin(), layers.end(), 0);
  return layers;
}

ModelOptions options_of(const RunConfig& config, std::int64_t microbatch) {
  return {.precision = config.training.precision,
          .seed = static_cast<std::uint64_t>(config.training.seed),
          .clip_norm = config.training.clip_norm,
          .microbatch = microbatch,
          .global_batch = config.training.global_batch,
          .features = num_features(config),
          .label_smoothing = config.training.label_smoothing,
          .documents = config.data.end_of_document.has_value()};
}

}  // namespace

Graph build_graph(const ModelConfig& model, const OptimizerConfig& optimizer,
                  const ModelOptions& options) {
  switch (model.preset) {
    case Preset::gpt:
    case Preset::moe:
    case Preset::llama:
    case Preset::bert:
      return graph_of_transformer(std::get<TransformerConfig>(model.shape), optimizer, options,
                                  all_layers(std::get<TransformerConfig>(model.shape)));
    case Preset::mlp: {
      const auto& config = std::get<MlpConfig>(model.shape);
      ModelOptions with_features = options;
      with_features.features = config.features;
      return graph_of_line(model::line_of(config), optimizer, with_features);
    }
    case Preset::custom:
      return graph_of_line(model::line_of(std::get<CustomConfig>(model.shape)), optimizer, options);
    case Preset::wide_resnet: {
      const auto& config = std::get<WideResnetConfig>(model.shape);
      return finished(num_layers(model::num_blocks(config)), optimizer, options,
                      [&](GraphBuilder& builder) {
                        return model::build_wide_resnet(builder, config, options);
                      });
    }
  }
  check_failed("known preset", SourceLine::here());
}

Graph build_graph(const RunConfig& config, std::int64_t microbatch) {
  return build_graph(config.model, config.optimizer, options_of(config, microbatch));
}

std::vector<int> layer_kinds(const ModelConfig& model) {
  const auto* config = std::get_if<TransformerConfig>(&model.shape);
  if (config == nullptr) return {};
  std::vector<int> kinds;
  for (const int l : all_layers(*config)) {
    kinds.push_back(config->moe && model::has_experts(*config->moe, l) ? 1 : 0);
  }
  return kinds;
}

Graph build_graph(const RunConfig& config, std::int64_t microbatch,
                  const std::vector<int>& layers) {
  const auto* transformer = std::get_if<TransformerConfig>(&config.model.shape);
  ALPA_CHECK(transformer != nullptr);
  return graph_of_transformer(*transformer, config.optimizer, options_of(config, microbatch),
                              layers);
}

}  // namespace alpa
