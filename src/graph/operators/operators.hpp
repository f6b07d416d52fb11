#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alpa/graph/derivative.hpp"
#include "alpa/graph/kernel.hpp"
#include "alpa/graph/rule.hpp"

namespace alpa::operators {

using Reduction = ShardingRule::Reduction;

/// What follows from a kernel's letters alone, before any size is known.
struct Signature {
  using LetterValue = std::optional<std::pair<char, std::int64_t>>;

  std::string kind = {};        ///< "einsum", "map.gelu"
  std::string attributes = {};  ///< "scale=0.5", for texts and fingerprints; empty if none
  std::vector<Dims> operands = {};
  std::vector<Dims> results = {};
  std::vector<Reduction> reduction = {};      ///< per result; empty: none
  std::vector<std::vector<int>> linear = {};  ///< see ShardingRule
  std::string whole = {};                     ///< letters that may not be split
  std::string even = {};                      ///< letters of several extents, see Factor::even
  std::string uncounted = {};                 ///< letters that stand for no work of their own
  double flops_per_point = 0.0;
  std::vector<std::string> suffixes = {};  ///< of the results' names; empty: none
  std::vector<int> wide_results = {};      ///< results that are f64 whatever the operands are
  std::vector<int> statistics = {};        ///< operands that may be f32 beside bf16 and f16
  std::vector<int> single_results = {};    ///< results that are f32 unless said otherwise, or f64
  std::vector<int> integer_operands = {};  ///< operands that are i32
  LetterValue extent = {};                 ///< a letter whose size the kernel fixes
  LetterValue index = {};                  ///< an index that must lie inside a letter
  std::vector<int> integer_results = {};   ///< results that are i32
  /// What shapes the letters alone do not check; returns what is wrong, or "".
  std::function<std::string(const std::vector<Shape>& operands, const std::vector<Shape>& results)>
      check = {};
  /// Dimensions that are cut with a factor, for these shapes; empty: none.
  std::function<std::vector<FactorWindow>(const std::vector<Shape>& operands,
                                          const std::vector<Shape>& results)>
      windows = {};
};

/// How a kernel stands in the graph, where that decides about its letters.
struct Instance {
  std::size_t operands = 0;
  std::size_t rank = 0;  ///< of the first result
};

Signature signature(const Einsum& kernel, Instance instance);
Signature signature(const Map& kernel, Instance instance);
Signature signature(const Reduce& kernel, Instance instance);
Signature signature(const SumExp& kernel, Instance instance);
Signature signature(const Pick& kernel, Instance instance);
Signature signature(const CrossEntropyGradient& kernel, Instance instance);
Signature signature(const Embedding& kernel, Instance instance);
Signature signature(const EmbeddingGradient& kernel, Instance instance);
Signature signature(const NormMoments& kernel, Instance instance);
Signature signature(const NormApply& kernel, Instance instance);
Signature signature(const NormGradientMoments& kernel, Instance instance);
Signature signature(const NormGradientInput& kernel, Instance instance);
Signature signature(const NormGradientParameters& kernel, Instance instance);
Signature signature(const NormStatistics& kernel, Instance instance);
Signature signature(const NormBlend& kernel, Instance instance);
Signature signature(const Select& kernel, Instance instance);
Signature signature(const Stack& kernel, Instance instance);
Signature signature(const Dropout& kernel, Instance instance);
Signature signature(const Attention& kernel, Instance instance);
Signature signature(const AttentionGradient& kernel, Instance instance);
Signature signature(const Rotary& kernel, Instance instance);
Signature signature(const View& kernel, Instance instance);
Signature signature(const Route& kernel, Instance instance);
Signature signature(const RouteGradient& kernel, Instance instance);
Signature signature(const Dispatch& kernel, Instance instance);
Signature signature(const Combine& kernel, Instance instance);
Signature signature(const GateGradient& kernel, Instance instance);
Signature signature(const Convolution& kernel, Instance instance);
Signature signature(const ConvolutionGradientInput& kernel, Instance instance);
Signature signature(const ConvolutionGradientWeight& kernel, Instance instance);
Signature signature(const MaxPool& kernel, Instance instance);
Signature signature(const MaxPoolGradient& kernel, Instance instance);
Signature signature(const AveragePool& kernel, Instance instance);
Signature signature(const AveragePoolGradient& kernel, Instance instance);
Signature signature(const Accumulate& kernel, Instance instance);
Signature signature(const Update& kernel, Instance instance);
Signature signature(const LambDirection& kernel, Instance instance);
Signature signature(const SecondMoment& kernel, Instance instance);
Signature signature(const FactoredDirection& kernel, Instance instance);
Signature signature(const ApplyDirection& kernel, Instance instance);
Signature signature(const RunningAverage& kernel, Instance instance);
Signature signature(const Concatenate& kernel, Instance instance);
Signature signature(const Slice& kernel, Instance instance);
Signature signature(const Upsample& kernel, Instance instance);
Signature signature(const UpsampleGradient& kernel, Instance instance);
Signature signature(const CopyBox& kernel, Instance instance);
Signature signature(const Fill& kernel, Instance instance);
Signature signature(const Contribute& kernel, Instance instance);

[[nodiscard]] Signature signature_of(const Kernel& kernel, Instance instance);

/// The derivative of one kernel: reads the results' gradients from `backward` and gives those of
/// the operands. @throws UserError where there is none.
void derive(const Einsum& kernel, Backward& backward);
void derive(const Map& kernel, Backward& backward);
void derive(const Reduce& kernel, Backward& backward);
void derive(const Embedding& kernel, Backward& backward);
void derive(const NormApply& kernel, Backward& backward);
void derive(const Select& kernel, Backward& backward);
void derive(const Stack& kernel, Backward& backward);
void derive(const Dropout& kernel, Backward& backward);
void derive(const Attention& kernel, Backward& backward);
void derive(const Rotary& kernel, Backward& backward);
void derive(const View& kernel, Backward& backward);
void derive(const Route& kernel, Backward& backward);
void derive(const Dispatch& kernel, Backward& backward);
void derive(const Combine& kernel, Backward& backward);
void derive(const Convolution& kernel, Backward& backward);
void derive(const MaxPool& kernel, Backward& backward);
void derive(const AveragePool& kernel, Backward& backward);
void derive(const Concatenate& kernel, Backward& backward);
void derive(const Upsample& kernel, Backward& backward);

/// Derivatives of the losses, which reach through their statistics to the logits (src: loss.cpp).
void derive_cross_entropy(const Map& kernel, Backward& backward);
void derive_squared_error(const Map& kernel, Backward& backward);

/// Kernels whose derivative is that of the operator that uses them (statistics of softmax and
/// normalisation), that stand outside `forward`, or that end the graph.
[[noreturn]] void no_derivative(const Backward& backward);

/// `dims` without the letter.
[[nodiscard]] Dims without(const Dims& dims, char letter);
[[nodiscard]] bool has(const Dims& dims, char letter);
/// Shortest text that reads back as the same number.
[[nodiscard]] std::string number(double value);

}  // namespace alpa::operators
