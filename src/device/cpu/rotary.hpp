#pragma once

#include <cmath>
#include <vector>

#include "cpu/rows.hpp"

/// Rotary positions: the angles' cosines and sines once a position, then one pass over the rows.
namespace alpa::cpu {

/// Sizes of one launch: rows of d elements; the position of row i is offset + i / inner %
/// positions.
struct RotaryShape {
  std::int64_t rows, inner, positions, offset, depth;
};

inline RotaryShape rotary_shape(const Rotary& kernel, const Launch& launch) {
  kernels::Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  sizes.add(kernel.operand, launch.results[0]);
  ALPA_CHECK(kernel.operand.back() == 'd');
  const kernels::LetterSize depth = sizes.at('d'), time = sizes.at('t');
  ALPA_CHECK(depth.extent == depth.full && depth.full % 2 == 0);
  const Dims rows = kernel.operand.substr(0, kernel.operand.size() - 1);
  const Dims inner = rows.substr(rows.find('t') + 1);
  return {sizes.elements(rows), sizes.elements(inner), time.extent, time.offset, depth.full};
}

/// Workspace of the table [position][cosines, sines][d / 2].
template <class T>
[[nodiscard]] Bytes rotary_workspace(const Rotary& kernel, const Launch& launch) {
  const RotaryShape shape = rotary_shape(kernel, launch);
  return Bytes{shape.positions * shape.depth * std::int64_t{sizeof(T)}};
}

/// The angle of position 16 j + k is that of 16 j and that of k, added: a cosine and a sine for
/// each j and each k make all of them.
template <class T>
void write_rotary_table(const RotaryShape& shape, double base, double sign, T* table) {
  constexpr std::int64_t kLow = 16;
  const std::int64_t half = shape.depth / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const double rate =
        std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(shape.depth));
    std::array<double, kLow> low_cos, low_sin;
    for (std::size_t k = 0; k < low_cos.size(); ++k) {
      low_cos[k] = std::cos(rate * static_cast<double>(k));
      low_sin[k] = std::sin(rate * static_cast<double>(k));
    }
    for (std::int64_t first = 0; first < shape.positions; first += kLow) {
      const double angle = rate * static_cast<double>(shape.offset + first);
      const double c = std::cos(angle), s = std::sin(angle);
      for (std::int64_t t = first; t < std::min(first + kLow, shape.positions); ++t) {
        const auto k = static_cast<std::size_t>(t - first);
        table[t * shape.depth + i] = static_cast<T>(c * low_cos[k] - s * low_sin[k]);
        table[t * shape.depth + half + i] =
            static_cast<T>(sign * (s * low_cos[k] + c * low_sin[k]));
      }
    }
  }
}

template <class T>
void run_rotary(const Rotary& kernel, const Launch& launch, int threads) {
  const RotaryShape shape = rotary_shape(kernel, launch);
  ALPA_CHECK(static_cast<std::int64_t>(launch.workspace.size()) >=
             rotary_workspace<T>(kernel, launch).value);
  T* table = reinterpret_cast<T*>(launch.workspace.data());
  write_rotary_table(shape, kernel.base, kernel.inverse ? -1.0 : 1.0, table);
  const T* from = data_of<T>(launch.operands[0]);
  T* to = mutable_data_of<T>(launch.results[0]);
  const std::int64_t half = shape.depth / 2;
  parallel_for(threads, shape.rows, row_grain(shape.depth),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   const T* c = table + row / shape.inner % shape.positions * shape.depth;
                   const T* x = from + row * shape.depth;
                   T* y = to + row * shape.depth;
#pragma GCC ivdep
                   for (std::int64_t i = 0; i < half; ++i) {
                     const T first = x[i], second = x[half + i];
                     y[i] = c[i] * first - c[half + i] * second;
                     y[half + i] = c[i] * second + c[half + i] * first;
                   }
                 }
               });
}

}  // namespace alpa::cpu
