#pragma once

#include <array>
#include <cmath>

#include "cpu/rows.hpp"

/// Normalisation over the last dimension: each row once through memory.
namespace alpa::cpu {

/// x^ = (x - mean) * rstd
struct RowMoments {
  double mean, rstd;
};

/// The pieces of a normalisation, as a matrix with one row per normalised row.
class NormRows {
 public:
  NormRows(const NormAttributes& norm, const Piece& sum, const Piece& square_sum,
           const kernels::Letters& sizes)
      : norm_(norm),
        sum_(sum),
        square_sum_(square_sum),
        n_(static_cast<double>(sizes.at(norm.operand.back()).full)),
        columns_(sizes.extent(norm.operand.back())),
        rows_(sizes.elements(kernels::without(norm.operand, norm.operand.back()))) {}

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t columns() const { return columns_; }
  [[nodiscard]] double full_size() const { return n_; }
  [[nodiscard]] RowMoments moments(std::int64_t row) const {
    const double mean = norm_.rms ? 0.0 : kernels::load(sum_, row) / n_;
    const double square = kernels::load(square_sum_, row) / n_;
    return {mean, 1.0 / std::sqrt(square - mean * mean + norm_.epsilon)};
  }

 private:
  const NormAttributes& norm_;
  const Piece &sum_, &square_sum_;
  double n_;
  std::int64_t columns_, rows_;
};

/// Checks the pieces of a normalisation: those like x, those like its rows, those like its columns.
inline kernels::Letters norm_letters(const NormAttributes& norm, std::span<const Piece> like_x,
                                     std::span<const Piece> like_rows,
                                     std::span<const Piece> like_columns) {
  kernels::Letters sizes;
  const Dims rows = kernels::without(norm.operand, norm.over);
  for (const Piece& piece : like_x) sizes.add(norm.operand, piece);
  for (const Piece& piece : like_rows) sizes.add(rows, piece);
  for (const Piece& piece : like_columns) sizes.add(norm.parameters, piece);
  return sizes;
}

/// Each row of the last letter is normalised by itself, as layer norm does.
inline bool by_rows(const Dims& operand, const Dims& over, std::int64_t group) {
  return group == 1 && over == Dims(1, operand.back());
}
inline bool by_rows(const NormAttributes& norm) {
  return by_rows(norm.operand, norm.over, norm.group) && norm.parameters == norm.over;
}

template <class T>
void run_norm_moments(const NormMoments& kernel, const Launch& launch, int threads) {
  const NormAttributes norm{kernel.operand, kernel.over};
  (void)norm_letters(norm, launch.operands, launch.results, {});
  const auto size = split_after(launch.operands[0], kernel.operand.size() - 1);
  const T* x = data_of<T>(launch.operands[0]);
  double* sums = mutable_data_of<double>(launch.results[0]);
  double* square_sums = mutable_data_of<double>(launch.results[1]);
  parallel_for(threads, size.rows, row_grain(size.columns),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   double sum = 0.0, square_sum = 0.0;
                   const T* from = x + row * size.columns;
                   for (std::int64_t i = 0; i < size.columns; ++i) {
                     const auto value = static_cast<double>(from[i]);
                     sum += value;
                     square_sum += value * value;
                   }
                   sums[row] = sum;
                   square_sums[row] = square_sum;
                 }
               });
}

template <class T>
void run_norm_apply(const NormApply& kernel, const Launch& launch, int threads) {
  const auto& in = launch.operands;
  const auto sizes = norm_letters(kernel.norm, in.first(1), in.subspan(1, 2), in.subspan(3));
  const NormRows norm(kernel.norm, in[1], in[2], sizes);
  const std::int64_t n = norm.columns();
  const T *x = data_of<T>(in[0]), *scale = data_of<T>(in[3]);
  const T* bias = kernel.bias ? data_of<T>(in[4]) : nullptr;
  T* y = mutable_data_of<T>(launch.results[0]);
  parallel_for(threads, norm.rows(), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowMoments moments = norm.moments(row);
      const T mean = static_cast<T>(moments.mean), rstd = static_cast<T>(moments.rstd);
      const T* from = x + row * n;
      const auto normalised = [&](std::int64_t i) { return (from[i] - mean) * rstd * scale[i]; };
      if (bias == nullptr)
        fill_run(y + row * n, n, normalised);
      else
        fill_run(y + row * n, n, [&](std::int64_t i) { return normalised(i) + bias[i]; });
    }
  });
}

template <class T>
void run_norm_gradient_moments(const NormGradientMoments& kernel, const Launch& launch,
                               int threads) {
  const auto& in = launch.operands;
  auto sizes = norm_letters(kernel.norm, in.first(2), in.subspan(2, 2), in.subspan(4));
  const NormRows norm(kernel.norm, in[2], in[3], sizes);
  const std::int64_t n = norm.columns();
  const T *dy = data_of<T>(in[0]), *x = data_of<T>(in[1]), *scale = data_of<T>(in[4]);
  double* g_sums = mutable_data_of<double>(launch.results[0]);
  double* gx_sums = mutable_data_of<double>(launch.results[1]);
  parallel_for(threads, norm.rows(), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowMoments moments = norm.moments(row);
      double g_sum = 0.0, gx_sum = 0.0;
      for (std::int64_t i = 0; i < n; ++i) {
        const double g = static_cast<double>(dy[row * n + i]) * static_cast<double>(scale[i]);
        g_sum += g;
        gx_sum += g * (static_cast<double>(x[row * n + i]) - moments.mean);
      }
      g_sums[row] = g_sum;
      gx_sums[row] = gx_sum * moments.rstd;
    }
  });
}

template <class T>
void run_norm_gradient_input(const NormGradientInput& kernel, const Launch& launch, int threads) {
  const auto& in = launch.operands;
  const std::array<Piece, 4> like_rows = {in[2], in[3], in[5], in[6]};
  const auto sizes = norm_letters(kernel.norm, in.first(2), like_rows, in.subspan(4, 1));
  const NormRows norm(kernel.norm, in[2], in[3], sizes);
  const std::int64_t n = norm.columns();
  const T *dy = data_of<T>(in[0]), *x = data_of<T>(in[1]), *scale = data_of<T>(in[4]);
  T* dx = mutable_data_of<T>(launch.results[0]);
  parallel_for(threads, norm.rows(), row_grain(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowMoments moments = norm.moments(row);
      const T mean = static_cast<T>(moments.mean), rstd = static_cast<T>(moments.rstd);
      const double g_sum = kernel.norm.rms ? 0.0 : kernels::load(in[5], row);
      const T g_mean = static_cast<T>(g_sum / norm.full_size());
      const T slope = static_cast<T>(moments.rstd * kernels::load(in[6], row) / norm.full_size());
      const T *from = x + row * n, *dy_row = dy + row * n;
      fill_run(dx + row * n, n, [&](std::int64_t i) {
        return rstd * (dy_row[i] * scale[i] - g_mean - (from[i] - mean) * slope);
      });
    }
  });
}

/// Threads take columns, so that each sum runs over the rows in order.
template <class T>
void run_norm_gradient_parameters(const NormGradientParameters& kernel, const Launch& launch,
                                  int threads) {
  const auto& in = launch.operands;
  const auto sizes = norm_letters(kernel.norm, in.first(2), in.subspan(2, 2), launch.results);
  const NormRows norm(kernel.norm, in[2], in[3], sizes);
  const std::int64_t n = norm.columns();
  const T *dy = data_of<T>(in[0]), *x = data_of<T>(in[1]);
  constexpr std::int64_t kWidth = 128;
  parallel_for(threads, (n + kWidth - 1) / kWidth, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t column = begin * kWidth; column < std::min(end * kWidth, n);
         column += kWidth) {
      const std::int64_t width = std::min(kWidth, n - column);
      std::array<double, kWidth> scales{}, biases{};
      double *scale = scales.data(), *bias = biases.data();
      for (std::int64_t row = 0; row < norm.rows(); ++row) {
        const RowMoments moments = norm.moments(row);
        const T *g = dy + row * n + column, *from = x + row * n + column;
        for (std::int64_t i = 0; i < width; ++i) {
          const auto value = static_cast<double>(g[i]);
          scale[i] += value * (static_cast<double>(from[i]) - moments.mean) * moments.rstd;
          bias[i] += value;
        }
      }
      for (std::int64_t i = 0; i < width; ++i) {
        kernels::store(launch.results[0], column + i, scale[i]);
        if (kernel.bias) kernels::store(launch.results[1], column + i, bias[i]);
      }
    }
  });
}

}  // namespace alpa::cpu
