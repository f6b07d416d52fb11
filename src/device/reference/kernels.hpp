#pragma once

#include "alpa/device/device.hpp"

/// Every kernel as plain loops, with sums in f64: what the other back ends are measured against and
/// fall back on. All floating-point dtypes. Checks that pieces agree where they share letters.
namespace alpa::reference {

void run(const Einsum& kernel, const Launch& launch);
void run(const Map& kernel, const Launch& launch);
void run(const Reduce& kernel, const Launch& launch);
void run(const SumExp& kernel, const Launch& launch);
void run(const Pick& kernel, const Launch& launch);
void run(const CrossEntropyGradient& kernel, const Launch& launch);
void run(const Embedding& kernel, const Launch& launch);
void run(const EmbeddingGradient& kernel, const Launch& launch);
void run(const NormMoments& kernel, const Launch& launch);
void run(const NormApply& kernel, const Launch& launch);
void run(const NormGradientMoments& kernel, const Launch& launch);
void run(const NormGradientInput& kernel, const Launch& launch);
void run(const NormGradientParameters& kernel, const Launch& launch);
void run(const NormStatistics& kernel, const Launch& launch);
void run(const NormBlend& kernel, const Launch& launch);
void run(const Select& kernel, const Launch& launch);
void run(const Stack& kernel, const Launch& launch);
void run(const Dropout& kernel, const Launch& launch);
void run(const Attention& kernel, const Launch& launch);
void run(const AttentionGradient& kernel, const Launch& launch);
void run(const Rotary& kernel, const Launch& launch);
void run(const View& kernel, const Launch& launch);
void run(const Route& kernel, const Launch& launch);
void run(const RouteGradient& kernel, const Launch& launch);
void run(const Dispatch& kernel, const Launch& launch);
void run(const Combine& kernel, const Launch& launch);
void run(const GateGradient& kernel, const Launch& launch);
void run(const Convolution& kernel, const Launch& launch);
void run(const ConvolutionGradientInput& kernel, const Launch& launch);
void run(const ConvolutionGradientWeight& kernel, const Launch& launch);
void run(const MaxPool& kernel, const Launch& launch);
void run(const MaxPoolGradient& kernel, const Launch& launch);
void run(const AveragePool& kernel, const Launch& launch);
void run(const AveragePoolGradient& kernel, const Launch& launch);
void run(const Accumulate& kernel, const Launch& launch);
void run(const Update& kernel, const Launch& launch);
void run(const LambDirection& kernel, const Launch& launch);
void run(const SecondMoment& kernel, const Launch& launch);
void run(const FactoredDirection& kernel, const Launch& launch);
void run(const ApplyDirection& kernel, const Launch& launch);
void run(const RunningAverage& kernel, const Launch& launch);
void run(const Concatenate& kernel, const Launch& launch);
void run(const Slice& kernel, const Launch& launch);
void run(const Upsample& kernel, const Launch& launch);
void run(const UpsampleGradient& kernel, const Launch& launch);
void run(const CopyBox& kernel, const Launch& launch);
void run(const Fill& kernel, const Launch& launch);
void run(const Contribute& kernel, const Launch& launch);

/// Any kernel of the variant. Named apart, so that a kernel without a function above does not
/// compile instead of converting to the variant.
void run_kernel(const Kernel& kernel, const Launch& launch);

/// Value of one element of a Map, from the operands' values.
[[nodiscard]] double value_of(MapOp op, std::span<const double> operands, double constant);

/// Operands that a Map operation takes; `given` for those that take any number.
[[nodiscard]] std::size_t operand_count(MapOp op, std::size_t given);
/// Results that an optimizer updates: the parameter and its state.
[[nodiscard]] std::size_t result_count(OptimizerKind kind);
/// p -= along * direction + decay * p, of one ApplyDirection in one step.
struct DirectionStep {
  double along = 0.0, decay = 0.0;
};
[[nodiscard]] DirectionStep step_of(const ApplyDirection& kernel, const Launch& launch);
/// What clipping to a norm (0: none) multiplies gradients with.
[[nodiscard]] double clip_factor(double clip_norm, double norm_squared);

}  // namespace alpa::reference
