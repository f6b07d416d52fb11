#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace alpa {

enum class Norm : std::uint8_t { layer, rms };
/// gelu is the exact one (erf). swiglu gates: it takes two products and belongs to feed-forwards.
enum class Activation : std::uint8_t { gelu, gelu_tanh, relu, swiglu, silu, tanh };
enum class Loss : std::uint8_t { cross_entropy, squared_error };

// Layers of free models. A layer takes one value [b, …] (b samples) unless it says otherwise; the
// last dimension is the one that most of them work on.

struct LayerConfig;

struct LinearLayer {
  std::int64_t out = 1;
  std::optional<Activation> activation = {};
  bool bias = true;
  friend bool operator==(const LinearLayer&, const LinearLayer&) = default;
};
/// A product over named indices, the first of each value the sample: "bte,ef->btf" of the input and
/// a weight of the shape `weight`, or (without one) of two inputs.
struct EinsumLayer {
  std::string equation;
  std::vector<std::int64_t> weight = {};
  friend bool operator==(const EinsumLayer&, const EinsumLayer&) = default;
};
struct NormLayer {
  Norm kind = Norm::layer;
  double epsilon = 1e-5;
  friend bool operator==(const NormLayer&, const NormLayer&) = default;
};
struct ActivationLayer {
  Activation kind = Activation::gelu;
  friend bool operator==(const ActivationLayer&, const ActivationLayer&) = default;
};
struct DropoutLayer {
  double p = 0.0;
  friend bool operator==(const DropoutLayer&, const DropoutLayer&) = default;
};
struct ScaleLayer {
  double factor = 1.0;
  friend bool operator==(const ScaleLayer&, const ScaleLayer&) = default;
};
/// Sum or product of two values or more, element by element, or side by side along the last
/// dimension: those named in `input`.
struct CombineLayer {
  enum class Kind : std::uint8_t { add, multiply, concatenate } kind = Kind::add;
  friend bool operator==(const CombineLayer&, const CombineLayer&) = default;
};
/// Layers without settings. flatten: [b, …] -> [b, all]; global_average_pool: the mean over all
/// dimensions but the first and the last; positions: adds a trained value to each place.
struct PlainLayer {
  enum class Kind : std::uint8_t { softmax, flatten, global_average_pool, positions };
  Kind kind = Kind::softmax;
  friend bool operator==(const PlainLayer&, const PlainLayer&) = default;
};
/// Integers [b, …] -> [b, …, out]
struct EmbeddingLayer {
  std::int64_t vocabulary = 1;
  std::int64_t out = 1;
  friend bool operator==(const EmbeddingLayer&, const EmbeddingLayer&) = default;
};
/// Self-attention of [b, t, e].
struct AttentionLayer {
  std::int64_t heads = 1;  ///< divides e
  bool causal = true;
  bool rotary = false;  ///< rotary positions of queries and keys
  double dropout = 0.0;
  bool bias = true;
  friend bool operator==(const AttentionLayer&, const AttentionLayer&) = default;
};
/// [.., e] -> [.., hidden] -> [.., e]
struct FeedForwardLayer {
  std::int64_t hidden = 1;
  Activation activation = Activation::gelu;
  bool bias = true;
  friend bool operator==(const FeedForwardLayer&, const FeedForwardLayer&) = default;
};
/// [b, height, width, channels] -> [b, height', width', out]
struct ConvolutionLayer {
  std::int64_t out = 1;
  std::int64_t size = 3;
  std::int64_t stride = 1;
  std::optional<std::int64_t> padding = {};  ///< nullopt: size / 2
  std::optional<Activation> activation = {};
  bool bias = true;
  friend bool operator==(const ConvolutionLayer&, const ConvolutionLayer&) = default;
};
struct PoolLayer {
  enum class Kind : std::uint8_t { maximum, average } kind = Kind::maximum;
  std::int64_t size = 2;
  std::optional<std::int64_t> stride = {};  ///< nullopt: size
  std::int64_t padding = 0;
  friend bool operator==(const PoolLayer&, const PoolLayer&) = default;
};
/// Each pixel becomes factor x factor equal ones.
struct UpsampleLayer {
  std::int64_t factor = 2;
  friend bool operator==(const UpsampleLayer&, const UpsampleLayer&) = default;
};
/// `block` one after the other, `count` times, each with its own parameters.
struct RepeatLayer {
  std::int64_t count = 1;
  std::vector<LayerConfig> block;
  bool operator==(const RepeatLayer& other) const;
};
/// x + body(x)
struct ResidualLayer {
  std::vector<LayerConfig> body;
  bool operator==(const ResidualLayer& other) const;
};

/// One entry of `model.layers`.
struct LayerConfig {
  std::variant<LinearLayer, EinsumLayer, NormLayer, ActivationLayer, DropoutLayer, ScaleLayer,
               CombineLayer, PlainLayer, EmbeddingLayer, AttentionLayer, FeedForwardLayer,
               ConvolutionLayer, PoolLayer, UpsampleLayer, RepeatLayer, ResidualLayer>
      layer;
  std::string name = {};  ///< empty: none
  /// Names of earlier layers of this list or of one around it, or of inputs of the model; `input`
  /// is the only one's name unless the model names them. Empty: the layer before.
  std::vector<std::string> input = {};
  std::string parameters = {};  ///< name of an earlier layer whose parameters it uses; empty: own
  bool operator==(const LayerConfig& other) const;
};

/// An input of a free model: the field of the data with that name.
struct InputConfig {
  enum class Type : std::uint8_t { real, integer } type = Type::real;
  std::vector<std::int64_t> shape;  ///< of one sample
  friend bool operator==(const InputConfig&, const InputConfig&) = default;
};

/// A value that is compared with a field of the data. Counts `weight` times; each output is a mean
/// over samples and over the places of a sample.
struct OutputConfig {
  std::string layer;
  Loss loss = Loss::cross_entropy;
  std::string field = {};  ///< labels [b, …] or targets [b, …, c]
  double weight = 1.0;
  friend bool operator==(const OutputConfig&, const OutputConfig&) = default;
};

}  // namespace alpa
