#pragma once

#include <string>
#include <vector>

#include "alpa/device/device.hpp"

namespace alpa::cpu {

/// The kernels for tensors of T, float or double (Map and Embedding also of bf16 and f16): the
/// entry points of one source file, which is built once for each processor level, float with fast
/// mathematics, double without. Nothing else of such a build is visible outside, so that code for
/// one level never stands in for another's.
///
/// The caller has checked how many pieces there are, and that they are of T where they must be.
template <class T>
struct FastKernels {
  /// Bytes that `run` needs as Launch::workspace.
  Bytes (*workspace)(const Kernel& kernel, const Launch& launch, int threads);
  /// Whether there is a kernel for these letters; nothing was written if not.
  /// @pre the squared norm that an optimizer reads is finite
  bool (*run)(const Kernel& kernel, const Launch& launch, int threads);
  /// n numbers of bf16 or f16 to T, and back to the nearest.
  void (*widen)(DType from, const std::byte* data, T* to, std::int64_t n);
  void (*narrow)(DType to, const T* from, std::byte* data, std::int64_t n);
};

/// Processor levels that a build may hold; `native` is that of the machine that built it.
namespace level {
struct x86_64;
struct x86_64_v3;
struct x86_64_v4;
struct native;
}  // namespace level

template <class T, class Level>
FastKernels<T> fast_kernels();

/// All kernels for one processor level.
struct Level {
  std::string name;
  bool supported;  ///< by the processor that this runs on
  FastKernels<float> f32;
  FastKernels<double> f64;
};

/// Those in this build, best last.
[[nodiscard]] const std::vector<Level>& levels();

}  // namespace alpa::cpu
