#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "alpa/config/model_config.hpp"
#include "alpa/graph/builder.hpp"
#include "alpa/model/build_graph.hpp"

namespace alpa::model {

/// A tensor that flows through the model; its last letter is the one that layers work on.
struct Value {
  TensorId id;
  Dims dims;
  [[nodiscard]] char letter() const { return dims.back(); }
};

/// What all layers of one model share.
struct Context {
  GraphBuilder& builder;
  std::uint64_t seed = 1;
  InitializerConfig initializer = {};
  double residual_scale = 1.0;  ///< of the weights that end a residual branch
  DType dtype = DType::f32;
  double label_smoothing = 0.0;

  [[nodiscard]] std::int64_t width(const Value& x) const {
    return builder.tensor(x.id).shape.back();
  }
};

/// Names and letters of a product with a weight and perhaps a bias.
struct Linear {
  std::string name;
  Dims inputs;  ///< summed letters, the last ones of the operand
  Dims outputs;
  Shape output_shape;
  bool bias = true;
  bool ends_residual = false;
};

/// x[.. inputs] weight[inputs outputs] + bias[outputs] -> [.. outputs]
[[nodiscard]] Value linear(const Context& context, const Value& x, const Linear& layer);

/// The element function alone; swiglu is not one.
[[nodiscard]] Value activation(const Context& context, const Value& x, Activation kind,
                               const std::string& prefix);

struct NormChoice {
  Norm kind = Norm::layer;
  bool bias = true;  ///< of layer norm; RMS norm has none
  double epsilon = 1e-5;
};
[[nodiscard]] Value norm(const Context& context, const Value& x, const NormChoice& choice,
                         const std::string& name);

/// x itself if the probability is 0.
[[nodiscard]] Value dropout(const Context& context, const Value& x, double probability,
                            const std::string& name);

/// x + y; y may lack letters of x, and its letters may have other names.
[[nodiscard]] Value sum(const Context& context, const Value& x, const Value& y,
                        const std::string& name);

/// Loss over the last letter of the logits; reads inputs `labels` and `weights`. Returns the sum.
/// Contributes the weights of the rows whose label has the highest logit to `step.correct`.
[[nodiscard]] TensorId cross_entropy(const Context& context, const Value& logits);
/// Half the squared distance to `targets`, summed over the last letter.
[[nodiscard]] TensorId squared_error(const Context& context, const Value& outputs);

[[nodiscard]] Initializer weight_initializer(const Context& context, std::int64_t inputs,
                                             bool ends_residual);

/// A mixture of experts in the place of a feed-forward.
struct ExpertsLayer {
  MoeConfig moe;
  std::int64_t feed_forward = 1;
  Activation activation = Activation::gelu;
  bool bias = true;
  std::int64_t capacity = 1;       ///< slots of an expert in a group
  std::int64_t global_tokens = 1;  ///< tokens of the global batch
};
struct ExpertsOutput {
  Value value;
  std::optional<TensorId> auxiliary_loss;  ///< its contribution to the loss, if it has a weight
};
/// Routes groups of consecutive tokens of x [b t e] to experts (GShard, Lepikhin et al. 2020).
/// @throws UserError if the microbatch cuts a group
[[nodiscard]] ExpertsOutput experts(const Context& context, const Value& x,
                                    const ExpertsLayer& layer, const std::string& name);
/// Whether the layer (from 0) has experts.
[[nodiscard]] bool has_experts(const MoeConfig& moe, int layer);
/// Slots of an expert in a group: ceil(factor * top_k * group / experts).
[[nodiscard]] std::int64_t expert_capacity(const MoeConfig& moe, bool evaluation);

/// Forward operators of a model of these layers, with the capacity that experts have in training or
/// in evaluation; returns its losses.
[[nodiscard]] std::vector<TensorId> build_transformer(GraphBuilder& builder,
                                                      const TransformerConfig& config,
                                                      const ModelOptions& options, bool evaluation,
                                                      const std::vector<int>& layers);

/// Blocks of a Wide-ResNet, each a layer of the graph. @throws UserError for a depth without a
/// table
[[nodiscard]] std::int64_t num_blocks(const WideResnetConfig& config);
[[nodiscard]] TensorId build_wide_resnet(GraphBuilder& builder, const WideResnetConfig& config,
                                         const ModelOptions& options);

/// One layer of a line, with dropout at its end.
struct LineEntry {
  LayerConfig config;
  double dropout = 0.0;
  std::string path;  ///< in the file, for messages
};
/// A model of one layer after the other, with branches: what presets mlp and custom become.
struct Line {
  std::vector<LineEntry> entries;
  Loss loss = Loss::cross_entropy;
  InitializerConfig initializer;
  std::vector<std::pair<std::string, InputConfig>> inputs = {};
  std::vector<OutputConfig> outputs = {};
};
[[nodiscard]] Line line_of(const MlpConfig& config);
/// Repeats of the top level are written out.
[[nodiscard]] Line line_of(const CustomConfig& config);
/// Returns its losses.
[[nodiscard]] std::vector<TensorId> build_line(GraphBuilder& builder, const Line& line,
                                               const ModelOptions& options);

}  // namespace alpa::model
