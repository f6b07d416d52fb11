#pragma once

#include "cpu/gemm.hpp"

namespace alpa::cpu {

/// A dense row-major matrix of any leading dimension.
template <class T>
struct Rows {
  T* data;
  std::int64_t leading;
};

/// to[j][i] = from[i][j] for i < rows, j < columns, in squares of one vector a side.
template <class T>
void transpose(const Rows<const T>& from, const Rows<T>& to, std::int64_t rows,
               std::int64_t columns) {
  constexpr int kSize = detail::Square<T>::kSize;
  const auto elements = [&](std::int64_t row, std::int64_t column, std::int64_t last_row,
                            std::int64_t last_column) {
    for (std::int64_t i = row; i < last_row; ++i) {
      for (std::int64_t j = column; j < last_column; ++j) {
        to.data[j * to.leading + i] = from.data[i * from.leading + j];
      }
    }
  };
  const std::int64_t whole_rows = rows / kSize * kSize, whole_columns = columns / kSize * kSize;
  for (std::int64_t i = 0; i < whole_rows; i += kSize) {
    for (std::int64_t j = 0; j < whole_columns; j += kSize) {
      detail::Square<T> square;
#pragma GCC unroll 16
      for (int row = 0; row < kSize; ++row) {
        square.load(row, from.data + (i + row) * from.leading + j);
      }
      square.transpose();
#pragma GCC unroll 16
      for (int row = 0; row < kSize; ++row) {
        square.store(row, to.data + (j + row) * to.leading + i);
      }
    }
  }
  elements(0, whole_columns, whole_rows, columns);
  elements(whole_rows, 0, rows, columns);
}

}  // namespace alpa::cpu
