#pragma once

#include <cstdint>

namespace alpa::cpu {

/// A row-major product of a BLAS: result (m x n, `ldc`) = scale * op(left) op(right).
struct Sgemm {
  bool transpose_left, transpose_right;
  std::int64_t m, n, k;
  float scale;
  std::int64_t leading_left, leading_right, leading_result;
};

/// Whether the build found a library for it; otherwise the kernels of gemm.hpp do the work.
[[nodiscard]] bool has_sgemm();

/// @pre has_sgemm()  @throws SystemError (out_of_memory)
void sgemm(const Sgemm& shape, const float* left, const float* right, float* result, int threads);

}  // namespace alpa::cpu
