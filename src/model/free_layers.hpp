#pragma once

#include "layers.hpp"

/// The operators of free models, each on values [b, …].
namespace alpa::model {

/// A place in the file and what stands there: "model.layers[2] (linear named head)".
struct FreeLayer {
  const Context& context;
  std::string name;   ///< of its operators and parameters
  std::string where;  ///< for messages
  char letter = 'e';  ///< of the last dimension of what it makes
  bool ends_residual = false;

  [[noreturn]] void refuse(const std::string& found, const std::string& expected) const;
};

/// "btf" for rank 3 and letter 'f'; the batch first.
[[nodiscard]] Dims value_dims(std::size_t rank, char letter);

/// Shape of one sample.
[[nodiscard]] Shape sample_shape(const Context& context, const Value& x);

// Each throws UserError naming the layer, what it found and what it takes.
[[nodiscard]] Value build(const FreeLayer& at, const LinearLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const EinsumLayer& layer,
                          const std::vector<Value>& inputs);
[[nodiscard]] Value build(const FreeLayer& at, const NormLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const ActivationLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const DropoutLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const ScaleLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const CombineLayer& layer,
                          const std::vector<Value>& inputs);
[[nodiscard]] Value build(const FreeLayer& at, const PlainLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const EmbeddingLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const AttentionLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const FeedForwardLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const ConvolutionLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const PoolLayer& layer, const Value& x);
[[nodiscard]] Value build(const FreeLayer& at, const UpsampleLayer& layer, const Value& x);

/// The loss of a named output, summed over the samples of a microbatch. `path` of messages.
[[nodiscard]] TensorId output_loss(const Context& context, const OutputConfig& output,
                                   const Value& y, const std::string& path);

}  // namespace alpa::model
