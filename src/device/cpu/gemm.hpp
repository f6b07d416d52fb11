#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

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
  /// Lower tiles, for few rows: 32 rows are three tiles of 11 with one row of nothing, or three of
  /// 14 with ten.
  static constexpr int kMiddleRows = (3 * kRows + 3) / 4, kFewRows = kRows / 2 + 1;
};

constexpr std::int64_t round_up(std::int64_t value, std::int64_t to) {
  return (value + to - 1) / to * to;
}

/// Elements of a packed left block of m x k and right block of k x n; packing may write a vector
/// more than it has to.
template <class T>
constexpr std::int64_t packed_left(std::int64_t m, std::int64_t k) {
  return round_up(m, Tile<T>::kRows) * k + Tile<T>::kLanes;
}
template <class T>
constexpr std::int64_t packed_right(std::int64_t k, std::int64_t n) {
  return round_up(n, Tile<T>::kColumns) * k + Tile<T>::kLanes;
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

template <class T>
using Vector [[gnu::vector_size(Tile<T>::kVectorBytes)]] = T;
template <class T>
using Unaligned
    [[gnu::vector_size(Tile<T>::kVectorBytes), gnu::aligned(alignof(T)), gnu::may_alias]] = T;

/// Rows of one vector each as a square matrix, which it transposes: in stage s, lanes whose bit s
/// is set change places with rows whose bit s is set.
template <class T>
class Square {
 public:
  static constexpr int kSize = Tile<T>::kLanes;

  [[gnu::always_inline]] void load(int row, const T* from) {
    rows_[row] = *reinterpret_cast<const Unaligned<T>*>(from);
  }
  [[gnu::always_inline]] void clear(int row) { rows_[row] = Vector<T>{}; }
  [[gnu::always_inline]] void store(int row, T* to) const {
    *reinterpret_cast<Unaligned<T>*>(to) = rows_[row];
  }

  [[gnu::always_inline]] void transpose() {
    if constexpr (kSize > 8) exchange<8>();
    if constexpr (kSize > 4) exchange<4>();
    if constexpr (kSize > 2) exchange<2>();
    exchange<1>();
  }

 private:
  using Integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

  template <int stage>
  [[gnu::always_inline]] void exchange() {
    Vector<Integer> low, high;
    for (int i = 0; i < kSize; ++i) {
      const bool set = (i & stage) != 0;
      low[i] = set ? i - stage + kSize : i;
      high[i] = set ? i + kSize : i + stage;
    }
#pragma GCC unroll 16
    for (int row = 0; row < kSize; ++row) {
      if ((row & stage) != 0) continue;
      const Vector<T> first = rows_[row], second = rows_[row + stage];
      rows_[row] = __builtin_shuffle(first, second, low);
      rows_[row + stage] = __builtin_shuffle(first, second, high);
    }
  }

  Vector<T> rows_[static_cast<std::size_t>(kSize)];
};

/// Packs [0, depth) of a panel whose `along` is dense, square by square; `depth` is a multiple of
/// the vectors' lanes. May write up to a vector beyond each k's `width` elements, never before.
template <class T, int width>
void pack_squares(const T* data, const std::int64_t* across, std::int64_t count, std::int64_t depth,
                  T* panel) {
  constexpr int kSize = Square<T>::kSize;
  for (std::int64_t k = 0; k < depth; k += kSize) {
    // From the last square down: what one writes too much, the next overwrites.
    for (int first = (width - 1) / kSize * kSize; first >= 0; first -= kSize) {
      Square<T> square;
#pragma GCC unroll 16
      for (int i = 0; i < kSize; ++i) {
        if (first + i < count)
          square.load(i, data + across[first + i] + k);
        else
          square.clear(i);
      }
      square.transpose();
#pragma GCC unroll 16
      for (int i = 0; i < kSize; ++i) square.store(i, panel + (k + i) * width + first);
    }
  }
}

/// Packs a `width`-wide panel: panel[k * width + i] = data[across[i] + along[k]], zero beyond
/// `count`. May write one vector beyond.
template <class T, int width>
void pack_panel(const T* data, const std::int64_t* across, std::int64_t count,
                const std::int64_t* along, std::int64_t depth, T* __restrict panel) {
  if (count == width && consecutive(across, width)) {
    for (std::int64_t k = 0; k < depth; ++k) {
      std::memcpy(panel + k * width, data + across[0] + along[k], width * sizeof(T));
    }
    return;
  }
  std::int64_t done = 0;
  if (consecutive(along, depth)) {
    done = depth / Square<T>::kSize * Square<T>::kSize;
    if (done > 0) pack_squares<T, width>(data + along[0], across, count, done, panel);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const T* __restrict from = data + across[i];
    for (std::int64_t k = done; k < depth; ++k) panel[k * width + i] = from[along[k]];
  }
  for (std::int64_t k = done; count < width && k < depth; ++k) {
    for (std::int64_t i = count; i < width; ++i) panel[k * width + i] = T{0};
  }
}

}  // namespace detail

/// One register tile, acc[r][c] = sum over k of left(r, k) * right[k][c].
template <class T, int rows = Tile<T>::kRows>
class RegisterTile {
  using Vector = detail::Vector<T>;
  using Unaligned = detail::Unaligned<T>;
  static constexpr int kLanes = Tile<T>::kLanes;

 public:
  /// left(r, k) = left[r * row_step + k * step]: (1, rows) for a packed panel
  template <int row_step, int step>
  [[gnu::always_inline]] void multiply(const T* __restrict left, const T* __restrict right,
                                       std::int64_t depth) {
    for (int r = 0; r < rows; ++r) first_[r] = second_[r] = Vector{};
    for (std::int64_t k = 0; k < depth; ++k) {
      const Vector b0 = *reinterpret_cast<const Unaligned*>(right);
      const Vector b1 = *reinterpret_cast<const Unaligned*>(right + kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
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
    for (int r = 0; r < rows; ++r) write_row(scale, add, to + r * stride, r);
  }

  /// The same, row r at to[offsets[r]].
  [[gnu::always_inline]] void write(T scale, bool add, T* to, const std::int64_t* offsets) const {
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) write_row(scale, add, to + offsets[r], r);
  }

 private:
  [[gnu::always_inline]] void write_row(T scale, bool add, T* to, int r) const {
    auto* low = reinterpret_cast<Unaligned*>(to);
    auto* high = reinterpret_cast<Unaligned*>(to + kLanes);
    *low = add ? *low + scale * first_[r] : scale * first_[r];
    *high = add ? *high + scale * second_[r] : scale * second_[r];
  }

  Vector first_[rows], second_[rows];
};

/// Packs left (m x k) into panels of `rows` rows.
template <class T, int rows = Tile<T>::kRows>
void pack_left(const Matrix<const T>& left, std::int64_t m, std::int64_t k, T* packed) {
  for (std::int64_t i = 0; i < m; i += rows) {
    detail::pack_panel<T, rows>(left.data, left.rows + i, std::min<std::int64_t>(rows, m - i),
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

/// result (m x n) = scale * left * right (+ result), from blocks of depth k, packed in panels of
/// `rows` rows.
template <class T, int rows>
void multiply_packed(const T* left, const T* right, std::int64_t m, std::int64_t n, std::int64_t k,
                     T scale, bool add, const Matrix<T>& result) {
  constexpr int kColumns = Tile<T>::kColumns;
  for (std::int64_t j = 0; j < n; j += kColumns) {
    const std::int64_t columns = std::min<std::int64_t>(kColumns, n - j);
    const bool dense = columns == kColumns && detail::consecutive(result.columns + j, columns);
    for (std::int64_t i = 0; i < m; i += rows) {
      const std::int64_t height = std::min<std::int64_t>(rows, m - i);
      for (std::int64_t r = 0; r < height; ++r) {  // fetched while the tile is computed
        const T* row = result.data + result.rows[i + r] + result.columns[j];
        __builtin_prefetch(row, 1);
        __builtin_prefetch(row + Tile<T>::kLanes, 1);
      }
      RegisterTile<T, rows> tile;
      tile.template multiply<1, rows>(left + i * k, right + j * k, k);
      if (dense && height == rows) {
        tile.write(scale, add, result.data + result.columns[j], result.rows + i);
        continue;
      }
      std::array<T, static_cast<std::size_t>(rows * kColumns)> corner;
      tile.write(scale, false, corner.data(), std::int64_t{kColumns});
      for (std::int64_t r = 0; r < height; ++r) {
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

/// gemm() in tiles of `rows` rows. Few rows are packed once per block of k, and the panels of the
/// right matrix one by one, so that they are still in cache when they are used.
template <class T, int rows>
void gemm_in_tiles(const Matrix<const T>& left, const Matrix<const T>& right,
                   const Matrix<T>& result, std::int64_t m, std::int64_t n, std::int64_t k, T scale,
                   T* scratch) {
  using Blocks = Tile<T>;
  constexpr std::int64_t kBlockRows = Blocks::kBlockRows / rows * rows;
  const bool few_rows = m <= kBlockRows;
  const std::int64_t depth_step = Blocks::kBlockDepth;
  const std::int64_t column_step = few_rows ? Blocks::kColumns : Blocks::kBlockColumns;
  T* packed_a = scratch;
  T* packed_b =
      scratch +
      round_up(packed_left<T>(std::min(m, Blocks::kBlockRows), std::min(k, depth_step)), 16);
  const auto block = [&](std::int64_t p, std::int64_t j) {
    const std::int64_t depth = std::min(depth_step, k - p), columns = std::min(column_step, n - j);
    pack_right<T>(right.at(p, j), depth, columns, packed_b);
    for (std::int64_t i = 0; i < m; i += kBlockRows) {
      const std::int64_t height = std::min(kBlockRows, m - i);
      if (!few_rows || j == 0) pack_left<T, rows>(left.at(i, p), height, depth, packed_a);
      multiply_packed<T, rows>(packed_a, packed_b, height, columns, depth, scale, p > 0,
                               result.at(i, j));
    }
  };
  if (few_rows) {
    for (std::int64_t p = 0; p < k; p += depth_step) {
      for (std::int64_t j = 0; j < n; j += column_step) block(p, j);
    }
  } else {
    for (std::int64_t j = 0; j < n; j += column_step) {
      for (std::int64_t p = 0; p < k; p += depth_step) block(p, j);
    }
  }
}

/// result (m x n) = scale * left (m x k) * right (k x n), on this thread. @pre k > 0
/// `scratch`: gemm_scratch<T>(m, n, k) elements.
template <class T>
void gemm(const Matrix<const T>& left, const Matrix<const T>& right, const Matrix<T>& result,
          std::int64_t m, std::int64_t n, std::int64_t k, T scale, T* scratch) {
  using Blocks = Tile<T>;
  const std::int64_t tiles = (m + Blocks::kRows - 1) / Blocks::kRows;
  if (m <= tiles * Blocks::kFewRows)
    gemm_in_tiles<T, Blocks::kFewRows>(left, right, result, m, n, k, scale, scratch);
  else if (m <= tiles * Blocks::kMiddleRows)
    gemm_in_tiles<T, Blocks::kMiddleRows>(left, right, result, m, n, k, scale, scratch);
  else
    gemm_in_tiles<T, Blocks::kRows>(left, right, result, m, n, k, scale, scratch);
}

}  // namespace alpa::cpu
