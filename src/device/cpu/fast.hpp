#pragma once

#include "alpa/device/device.hpp"

namespace alpa::cpu {

/// The kernels for tensors of T, float or double. Each element type has its own source file, built
/// with its own flags: float with fast mathematics, double without.
///
/// The caller has checked how many pieces there are, and that they are of T where they must be.
/// A bool says whether there is a kernel for these letters; nothing was written if not.
template <class T>
struct Fast {
  static Bytes workspace(const Einsum& kernel, const Launch& launch, int threads);
  static Bytes workspace(const Attention& kernel, const Launch& launch, int threads);
  static Bytes workspace(const AttentionGradient& kernel, const Launch& launch, int threads);

  static bool run(const Einsum& kernel, const Launch& launch, int threads);
  static bool run(const Map& kernel, const Launch& launch, int threads);
  static bool run(const Reduce& kernel, const Launch& launch, int threads);
  static bool run(const SumExp& kernel, const Launch& launch, int threads);
  static bool run(const Pick& kernel, const Launch& launch, int threads);
  static bool run(const CrossEntropyGradient& kernel, const Launch& launch, int threads);
  static bool run(const Embedding& kernel, const Launch& launch, int threads);
  static bool run(const EmbeddingGradient& kernel, const Launch& launch, int threads);
  static bool run(const NormMoments& kernel, const Launch& launch, int threads);
  static bool run(const NormApply& kernel, const Launch& launch, int threads);
  static bool run(const NormGradientMoments& kernel, const Launch& launch, int threads);
  static bool run(const NormGradientInput& kernel, const Launch& launch, int threads);
  static bool run(const NormGradientParameters& kernel, const Launch& launch, int threads);
  static bool run(const Dropout& kernel, const Launch& launch, int threads);
  static bool run(const Attention& kernel, const Launch& launch, int threads);
  static bool run(const AttentionGradient& kernel, const Launch& launch, int threads);
  static bool run(const Fill& kernel, const Launch& launch, int threads);
  /// @pre norm_squared is finite
  static bool run(const Update& kernel, const Launch& launch, double norm_squared, int threads);
};

}  // namespace alpa::cpu
