#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/letters.hpp"

namespace alpa::cpu {

/// Loops that two tensors share, as one index of a matrix: extents, outermost first, and the
/// strides in either tensor. Loops that merge in both are merged, extents of 1 are left out.
struct IndexGroup {
  Shape extents;
  std::vector<std::int64_t> first, second;

  [[nodiscard]] std::int64_t size() const { return num_elements(extents); }
};

/// An einsum as a batch of matrix products, result[m, n] = scale * left[m, k] * right[k, n].
struct Contraction {
  IndexGroup m;                                                     ///< in left and result
  IndexGroup n;                                                     ///< in right and result
  IndexGroup k;                                                     ///< in left and right
  Shape batch;                                                      ///< in all three
  std::vector<std::int64_t> batch_left, batch_right, batch_result;  ///< strides, one per `batch`
  double scale = 1.0;

  [[nodiscard]] std::int64_t batches() const { return num_elements(batch); }
};

/// @pre the pieces fit the letters, and each letter stands in two of the three at least
[[nodiscard]] Contraction contraction_of(const Einsum& einsum, const Launch& launch);

/// Offsets of all indices of a group, from its strides in one of the tensors.
void write_offsets(const Shape& extents, const std::vector<std::int64_t>& strides,
                   std::int64_t* offsets);

/// The matrix in one tensor, if it is one for a BLAS: one index of stride 1, the other of one
/// stride.
struct DenseMatrix {
  bool transposed;       ///< the row index is the one of stride 1
  std::int64_t leading;  ///< the other's stride
};
[[nodiscard]] std::optional<DenseMatrix> dense_matrix(
    const IndexGroup& rows, const std::vector<std::int64_t>& row_strides, const IndexGroup& columns,
    const std::vector<std::int64_t>& column_strides);

/// Starts of the three matrices of batch element i.
struct BatchOffsets {
  std::int64_t left, right, result;
};
[[nodiscard]] BatchOffsets batch_offsets(const Contraction& contraction, std::int64_t i);

/// Whether the products are so small that plain loops are faster than any blocking.
[[nodiscard]] bool is_tiny(const Contraction& contraction);

}  // namespace alpa::cpu
