#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "alpa/config/layer_config.hpp"
#include "alpa/config/value_types.hpp"

namespace alpa {

enum class Preset : std::uint8_t { mlp, gpt, moe, wide_resnet, llama, bert, custom };
enum class Positions : std::uint8_t { learned, rotary, none };
enum class NormPosition : std::uint8_t { pre, post };
enum class RouterPrecision : std::uint8_t { fp32, same };
enum class Overflow : std::uint8_t { drop };

/// Initial values of weights: normal with mean 0.
struct InitializerConfig {
  /// Standard deviation; nullopt (`auto`): 1/sqrt(number of inputs) of each weight.
  std::optional<double> std = {};
  /// Weights that end a residual branch: std / sqrt(2 * layers).
  bool scale_residual = true;
  friend bool operator==(const InitializerConfig&, const InitializerConfig&) = default;
};

struct MoeConfig {
  std::int64_t experts = 16;
  std::int64_t every = 2;  ///< layers every-1, 2*every-1, … (from 0) have experts
  std::int64_t top_k = 2;
  std::int64_t group = 128;       ///< tokens routed together, by global token index
  double capacity_factor = 1.25;  ///< slots = ceil(factor * top_k * group / experts)
  double evaluation_capacity_factor = 2.0;
  Overflow overflow = Overflow::drop;
  double auxiliary_loss = 0.01;
  RouterPrecision router_precision = RouterPrecision::fp32;
  friend bool operator==(const MoeConfig&, const MoeConfig&) = default;
};

/// Presets gpt, moe, llama and bert.
struct TransformerConfig {
  std::int64_t layers = 8;
  std::int64_t hidden = 192;
  std::int64_t heads = 8;                            ///< divides hidden
  std::optional<std::int64_t> key_value_heads = {};  ///< divides heads; nullopt: heads
  std::int64_t feed_forward = 768;                   ///< 4 * hidden unless given
  std::int64_t vocabulary = 256;
  std::int64_t sequence = 64;
  Positions positions = Positions::learned;
  double rotary_base = 10000.0;  ///< of rotary positions
  Norm norm = Norm::layer;
  double norm_epsilon = 1e-5;
  NormPosition norm_position = NormPosition::pre;
  Activation activation = Activation::gelu;
  bool bias = true;
  bool tied_embedding = true;
  double dropout = 0.1;
  InitializerConfig initializer{.std = 0.02};
  std::optional<MoeConfig> moe;  ///< preset moe, and no other
  /// Preset bert, and no other: attention sees both sides, token types and a norm in the embedding,
  /// a head of its own.
  bool encoder = false;
  friend bool operator==(const TransformerConfig&, const TransformerConfig&) = default;
};

/// `features` inputs, `layers` hidden layers of `hidden` (linear, activation), one linear to
/// `classes` outputs.
struct MlpConfig {
  std::int64_t layers = 2;
  std::int64_t hidden = 128;
  std::int64_t features = 64;
  std::int64_t classes = 10;  ///< outputs; with loss squared_error the targets
  Activation activation = Activation::relu;
  bool bias = true;
  double dropout = 0.0;  ///< after each activation
  Loss loss = Loss::cross_entropy;
  InitializerConfig initializer;
  friend bool operator==(const MlpConfig&, const MlpConfig&) = default;
};

struct BatchNormConfig {
  std::int64_t group = 32;  ///< consecutive samples of the global batch that share statistics
  double momentum = 0.9;    ///< of the running statistics: what stays of them in a step
  double epsilon = 1e-5;
  friend bool operator==(const BatchNormConfig&, const BatchNormConfig&) = default;
};

struct WideResnetConfig {
  std::int64_t layers = 50;     ///< 14, 26, 50, 101 or 152
  std::int64_t channels = 160;  ///< of the first block
  std::int64_t width = 2;       ///< factor on the channels of the 3x3 convolutions
  std::int64_t image = 224;     ///< pixels a side
  std::int64_t classes = 1000;
  BatchNormConfig batch_norm;
  friend bool operator==(const WideResnetConfig&, const WideResnetConfig&) = default;
};

struct CustomConfig {
  std::vector<LayerConfig> layers;
  Loss loss = Loss::cross_entropy;  ///< of the last layer, where `outputs` are not named
  InitializerConfig initializer;
  /// By name, in the order written; empty: `features`, as the data has them.
  std::vector<std::pair<std::string, InputConfig>> inputs = {};
  std::vector<OutputConfig> outputs = {};  ///< empty: the last layer
  friend bool operator==(const CustomConfig&, const CustomConfig&) = default;
};

struct ModelConfig {
  Preset preset = Preset::gpt;
  /// A published size; its shape is already in `shape`, under what the file says.
  std::optional<std::string> size;
  std::variant<TransformerConfig, MlpConfig, WideResnetConfig, CustomConfig> shape;
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

[[nodiscard]] std::span<const EnumName<Preset>> names_of(Preset);
[[nodiscard]] std::span<const EnumName<Positions>> names_of(Positions);
[[nodiscard]] std::span<const EnumName<Norm>> names_of(Norm);
[[nodiscard]] std::span<const EnumName<NormPosition>> names_of(NormPosition);
[[nodiscard]] std::span<const EnumName<Activation>> names_of(Activation);
[[nodiscard]] std::span<const EnumName<Loss>> names_of(Loss);
[[nodiscard]] std::span<const EnumName<InputConfig::Type>> names_of(InputConfig::Type);
[[nodiscard]] std::span<const EnumName<RouterPrecision>> names_of(RouterPrecision);
[[nodiscard]] std::span<const EnumName<Overflow>> names_of(Overflow);

/// What a preset is without a size and without keys.
[[nodiscard]] ModelConfig preset_defaults(Preset preset);

}  // namespace alpa
