#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "alpa/base/units.hpp"

/// Products of a library.
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

/// Matrices of bf16 of which element (r, c) of number i lies at i * batch + r * row + c * column.
struct LowMatrices {
  std::int64_t batch, row, column;
};
/// result[i] (m x n) = left[i] right[i] for i < batches, sums in f32. Either stride of a matrix is
/// 1, that of a result's columns.
struct LowProduct {
  std::int64_t batches, m, n, k;
  LowMatrices left, right, result;
};

/// Scratch of low_product(); nothing where the library or the processor has no dot products of
/// bf16, so that it would be slower than products of f32.
[[nodiscard]] std::optional<Bytes> low_product_workspace(const LowProduct& shape, int threads);

/// @pre low_product_workspace(shape, threads) bytes of `workspace`
/// @throws SystemError (out_of_memory)
void low_product(const LowProduct& shape, const std::byte* left, const std::byte* right,
                 std::byte* result, std::span<std::byte> workspace, int threads);

}  // namespace alpa::cpu
