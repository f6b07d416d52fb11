#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "alpa/base/units.hpp"

/// Matrix products on matrices that lie anywhere in tensors: blocked and packed for the caches as
/// in Goto and van de Geijn (2008), with the packing reading through offsets as in Matthews (2018),
/// so that no tensor has to be transposed first. Sums run over k in one order whatever the threads.
namespace alpa::cpu {

/// Element (i, j) of a matrix is data[rows[i] + columns[j]].
template <class T>
struct Matrix {
  T* data;
  const std::int64_t* rows;
  const std::int64_t* columns;

  [[nodiscard]] Matrix at(std::int64_t row, std::int64_t column) const {
    return {data, rows + row, columns + column};
  }
};

/// Register tile and cache blocks for one element type.
template <class T>
struct Tile {
#if defined(__AVX512F__)
  static constexpr int kVectorBytes = 64, kRows = 14;
#elif defined(__AVX__)
  static constexpr int kVectorBytes = 32, kRows = 6;
#else
  static constexpr int kVectorBytes = 16, kRows = 6;
#endif
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int kColumns = 2 * kLanes;
  static constexpr std::int64_t kBlockDepth = 384;              ///< of k, for L1
  static constexpr std::int64_t kBlockRows = 12 * kRows;        ///< of m, for L2
  static constexpr std::int64_t kBlockColumns = 32 * kColumns;  ///< of n, for L3
};

constexpr std::int64_t round_up(std::int64_t value, std::int64_t to) {
  return (value + to - 1) / to * to;
}

/// Elements of a packed left block of m x k and right block of k x n.
template <class T>
constexpr std::int64_t packed_left(std::int64_t m, std::int64_t k) {
  return round_up(m, Tile<T>::kRows) * k;
}
template <class T>
constexpr std::int64_t packed_right(std::int64_t k, std::int64_t n) {
  return round_up(n, Tile<T>::kColumns) * k;
}

/// Elements that gemm() needs for one thread.
template <class T>
constexpr std::int64_t gemm_scratch(std::int64_t m, std::int64_t n, std::int64_t k) {
  const std::int64_t depth = std::min(k, Tile<T>::kBlockDepth);
  return round_up(packed_left<T>(std::min(m, Tile<T>::kBlockRows), depth), 16) +
         round_up(packed_right<T>(depth, std::min(n, Tile<T>::kBlockColumns)), 16);
}

namespace detail {

inline bool consecutive(const std::int64_t* offsets, std::int64_t count) {
  for (std::int64_t i = 1; i < count; ++i) {
    if (offsets[i] != offsets[0] + i) return false;
  }
  return true;
}

/// Packs a `width`-wide panel: panel[k * width + i] = data[across[i] + along[k]], zero beyond
/// `count`.
template <class T, int width>
void pack_panel(const T* data, const std::int64_t* across, std::int64_t count,
                const std::int64_t* along, std::int64_t depth, T* __restrict panel) {
  if (count == width && consecutive(across, width)) {
    for (std::int64_t k = 0; k < depth; ++k) {
      std::memcpy(panel + k * width, data + across[0] + along[k], width * sizeof(T));
    }
    return;
  }
  const bool dense = consecutive(along, depth);
  for (std::int64_t i = 0; i < count; ++i) {
    const T* __restrict from = data + across[i];
    if (dense) {
      const T* __restrict run = from + along[0];
      for (std::int64_t k = 0; k < depth; ++k) panel[k * width + i] = run[k];
    } else {
      for (std::int64_t k = 0; k < depth; ++k) panel[k * width + i] = from[along[k]];
    }
  }
  for (std::int64_t k = 0; count < width && k < depth; ++k) {
    for (std::int64_t i = count; i < width; ++i) panel[k * width + i] = T{0};
  }
}

}  // namespace detail

/// One register tile, acc[r][c] = sum over k of left(r, k) * right[k][c].
template <class T>
class RegisterTile {
  using Vector [[gnu::vector_size(Tile<T>::kVectorBytes)]] = T;
  using Unaligned
      [[gnu::vector_size(Tile<T>::kVectorBytes), gnu::aligned(alignof(T)), gnu::may_alias]] = T;
  static constexpr int kRows = Tile<T>::kRows, kLanes = Tile<T>::kLanes;

 public:
  /// left(r, k) = left[r * row_step + k * step]: (1, kRows) for a packed panel
  template <int row_step, int step>
  [[gnu::always_inline]] void multiply(const T* __restrict left, const T* __restrict right,
                                       std::int64_t depth) {
    for (int r = 0; r < kRows; ++r) first_[r] = second_[r] = Vector{};
    for (std::int64_t k = 0; k < depth; ++k) {
      const Vector b0 = *reinterpret_cast<const Unaligned*>(right);
      const Vector b1 = *reinterpret_cast<const Unaligned*>(right + kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        first_[r] += left[r * row_step] * b0;
        second_[r] += left[r * row_step] * b1;
      }
      left += step;
      right += 2 * kLanes;
    }
  }

  /// to[r * stride + c] = scale * acc (+ to)
  [[gnu::always_inline]] void write(T scale, bool add, T* to, std::int64_t stride) const {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) write_row(scale, add, to + r * stride, r);
  }

  /// The same, row r at to[rows[r]].
  [[gnu::always_inline]] void write(T scale, bool add, T* to, const std::int64_t* rows) const {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) write_row(scale, add, to + rows[r], r);
  }

 private:
  [[gnu::always_inline]] void write_row(T scale, bool add, T* to, int r) const {
    auto* low = reinterpret_cast<Unaligned*>(to);
    auto* high = reinterpret_cast<Unaligned*>(to + kLanes);
    *low = add ? *low + scale * first_[r] : scale * first_[r];
    *high = add ? *high + scale * second_[r] : scale * second_[r];
  }

  Vector first_[kRows], second_[kRows];
};

/// Packs left (m x k) into panels of Tile::kRows rows.
template <class T>
void pack_left(const Matrix<const T>& left, std::int64_t m, std::int64_t k, T* packed) {
  constexpr int kRows = Tile<T>::kRows;
  for (std::int64_t i = 0; i < m; i += kRows) {
    detail::pack_panel<T, kRows>(left.data, left.rows + i, std::min<std::int64_t>(kRows, m - i),
                                 left.columns, k, packed + i * k);
  }
}

/// Packs right (k x n) into panels of Tile::kColumns columns.
template <class T>
void pack_right(const Matrix<const T>& right, std::int64_t k, std::int64_t n, T* packed) {
  constexpr int kColumns = Tile<T>::kColumns;
  for (std::int64_t j = 0; j < n; j += kColumns) {
    detail::pack_panel<T, kColumns>(right.data, right.columns + j,
                                    std::min<std::int64_t>(kColumns, n - j), right.rows, k,
                                    packed + j * k);
  }
}

/// result (m x n) = scale * left * right (+ result), from packed blocks of depth k.
template <class T>
void multiply_packed(const T* left, const T* right, std::int64_t m, std::int64_t n, std::int64_t k,
                     T scale, bool add, const Matrix<T>& result) {
  constexpr int kRows = Tile<T>::kRows, kColumns = Tile<T>::kColumns;
  for (std::int64_t j = 0; j < n; j += kColumns) {
    const std::int64_t columns = std::min<std::int64_t>(kColumns, n - j);
    const bool dense = columns == kColumns && detail::consecutive(result.columns + j, columns);
    for (std::int64_t i = 0; i < m; i += kRows) {
      RegisterTile<T> tile;
      tile.template multiply<1, kRows>(left + i * k, right + j * k, k);
      const std::int64_t rows = std::min<std::int64_t>(kRows, m - i);
      if (dense && rows == kRows) {
        tile.write(scale, add, result.data + result.columns[j], result.rows + i);
        continue;
      }
      std::array<T, static_cast<std::size_t>(kRows * kColumns)> corner;
      tile.write(scale, false, corner.data(), std::int64_t{kColumns});
      for (std::int64_t r = 0; r < rows; ++r) {
        T* to = result.data + result.rows[i + r];
        for (std::int64_t c = 0; c < columns; ++c) {
          const T value = corner[static_cast<std::size_t>(r * kColumns + c)];
          T& element = to[result.columns[j + c]];
          element = add ? element + value : value;
        }
      }
    }
  }
}

/// result (m x n) = scale * left (m x k) * right (k x n), on this thread. k = 0 gives zeros.
/// `scratch`: gemm_scratch<T>(m, n, k) elements.
template <class T>
void gemm(const Matrix<const T>& left, const Matrix<const T>& right, const Matrix<T>& result,
          std::int64_t m, std::int64_t n, std::int64_t k, T scale, T* scratch) {
  using Blocks = Tile<T>;
  T* packed_a = scratch;
  T* packed_b = scratch + round_up(packed_left<T>(std::min(m, Blocks::kBlockRows),
                                                  std::min(k, Blocks::kBlockDepth)),
                                   16);
  for (std::int64_t j = 0; j < n; j += Blocks::kBlockColumns) {
    const std::int64_t columns = std::min(Blocks::kBlockColumns, n - j);
    for (std::int64_t p = 0; p < k; p += Blocks::kBlockDepth) {
      const std::int64_t depth = std::min(Blocks::kBlockDepth, k - p);
      pack_right<T>(right.at(p, j), depth, columns, packed_b);
      for (std::int64_t i = 0; i < m; i += Blocks::kBlockRows) {
        const std::int64_t rows = std::min(Blocks::kBlockRows, m - i);
        pack_left<T>(left.at(i, p), rows, depth, packed_a);
        multiply_packed<T>(packed_a, packed_b, rows, columns, depth, scale, p > 0, result.at(i, j));
      }
    }
  }
}

}  // namespace alpa::cpu
