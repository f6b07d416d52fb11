#include "cpu/contraction.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"

namespace alpa::cpu {

using namespace kernels;

namespace {

bool has(const Dims& dims, char letter) { return dims.find(letter) != Dims::npos; }

std::int64_t stride_of(const Dims& dims, char letter, const Letters& sizes) {
  std::int64_t stride = 1;
  for (std::size_t d = dims.size(); d-- > 0;) {
    if (dims[d] == letter) return stride;
    stride *= sizes.extent(dims[d]);
  }
  return 0;
}

/// Adds a loop inside those of the group.
void append(IndexGroup& group, std::int64_t extent, std::int64_t first, std::int64_t second) {
  if (extent == 1) return;
  if (!group.extents.empty() && group.first.back() == first * extent &&
      group.second.back() == second * extent) {
    group.extents.back() *= extent;
    group.first.back() = first;
    group.second.back() = second;
    return;
  }
  group.extents.push_back(extent);
  group.first.push_back(first);
  group.second.push_back(second);
}

void check_letters(const Dims& dims, const Dims& a, const Dims& b) {
  for (std::size_t i = 0; i < dims.size(); ++i) {
    ALPA_CHECK(has(a, dims[i]) || has(b, dims[i]));
    ALPA_CHECK(dims.find(dims[i], i + 1) == Dims::npos);
  }
}

}  // namespace

Contraction contraction_of(const Einsum& einsum, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  const Dims &left = einsum.left, &right = einsum.right, &result = einsum.result;
  check_letters(left, right, result);
  check_letters(right, left, result);
  check_letters(result, left, right);
  Letters sizes;
  sizes.add(left, launch.operands[0]);
  sizes.add(right, launch.operands[1]);
  sizes.add(result, launch.results[0]);

  Contraction c;
  c.scale = einsum.scale;
  for (const char letter : result) {
    const std::int64_t extent = sizes.extent(letter);
    const std::int64_t in_left = stride_of(left, letter, sizes);
    const std::int64_t in_right = stride_of(right, letter, sizes);
    const std::int64_t in_result = stride_of(result, letter, sizes);
    if (!has(right, letter)) {
      append(c.m, extent, in_left, in_result);
    } else if (!has(left, letter)) {
      append(c.n, extent, in_right, in_result);
    } else {
      c.batch.push_back(extent);
      c.batch_left.push_back(in_left);
      c.batch_right.push_back(in_right);
      c.batch_result.push_back(in_result);
    }
  }
  for (const char letter : without(left, result)) {
    append(c.k, sizes.extent(letter), stride_of(left, letter, sizes),
           stride_of(right, letter, sizes));
  }
  return c;
}

void write_offsets(const Shape& extents, const std::vector<std::int64_t>& strides,
                   std::int64_t* offsets) {
  std::int64_t count = 1;
  offsets[0] = 0;
  // Each loop, from the innermost out, repeats what is there once per index.
  for (std::size_t loop = extents.size(); loop-- > 0;) {
    for (std::int64_t i = 1; i < extents[loop]; ++i) {
      for (std::int64_t j = 0; j < count; ++j) {
        offsets[i * count + j] = offsets[j] + i * strides[loop];
      }
    }
    count *= extents[loop];
  }
}

std::optional<DenseMatrix> dense_matrix(const IndexGroup& rows,
                                        const std::vector<std::int64_t>& row_strides,
                                        const IndexGroup& columns,
                                        const std::vector<std::int64_t>& column_strides) {
  if (rows.extents.size() > 1 || columns.extents.size() > 1) return std::nullopt;
  const bool one_row = rows.extents.empty(), one_column = columns.extents.empty();
  // A BLAS wants a leading dimension no shorter than the run, also where it is never used.
  if (one_column || column_strides[0] == 1) {
    const std::int64_t leading = one_row ? columns.size() : row_strides[0];
    if (leading >= columns.size()) return DenseMatrix{false, leading};
  }
  if (one_row || row_strides[0] == 1) {
    const std::int64_t leading = one_column ? rows.size() : column_strides[0];
    if (leading >= rows.size()) return DenseMatrix{true, leading};
  }
  return std::nullopt;
}

BatchOffsets batch_offsets(const Contraction& contraction, std::int64_t i) {
  BatchOffsets offsets{0, 0, 0};
  for (std::size_t loop = contraction.batch.size(); loop-- > 0;) {
    const std::int64_t index = i % contraction.batch[loop];
    i /= contraction.batch[loop];
    offsets.left += index * contraction.batch_left[loop];
    offsets.right += index * contraction.batch_right[loop];
    offsets.result += index * contraction.batch_result[loop];
  }
  return offsets;
}

bool is_tiny(const Contraction& contraction) {
  return contraction.m.size() * contraction.n.size() * contraction.k.size() <= 128;
}

}  // namespace alpa::cpu
