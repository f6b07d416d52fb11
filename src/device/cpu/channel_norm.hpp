#pragma once

#include <algorithm>
#include <array>

#include "cpu/norm.hpp"

/// Batch norm with the channels last: every row of the matrix [pixels, channels] belongs to a
/// group of consecutive rows, and each group has statistics of its own. Sums run down the columns
/// in order, several rows at a time, so that threads do not change them.
namespace alpa::cpu {

/// x as [groups, rows, columns].
struct ChannelRows {
  std::int64_t groups, rows, columns;
};

/// Whether statistics are of all letters but the last, or but the first and the last.
inline bool by_channels(const Dims& operand, const Dims& over) {
  const Dims row = kernels::without(operand, over);
  const Dims last(1, operand.back());
  return operand.size() > 1 && (row == last || row == operand.front() + last);
}
inline bool by_channels(const NormAttributes& norm) {
  return by_channels(norm.operand, norm.over) && norm.parameters == Dims(1, norm.operand.back());
}

inline ChannelRows channel_rows(const Dims& operand, const Dims& over, std::int64_t group,
                                const Piece& x, const Piece& statistics) {
  const std::int64_t columns = x.box.extent.back();
  const std::int64_t rows = num_elements(x.box.extent) / std::max<std::int64_t>(columns, 1);
  const bool grouped = kernels::without(operand, over).size() == 2;
  const std::int64_t groups = grouped ? x.box.extent.front() / group : 1;
  ALPA_CHECK(!grouped || x.box.extent.front() % group == 0);
  ALPA_CHECK(num_elements(statistics.box.extent) == groups * columns);
  return {groups, rows / std::max<std::int64_t>(groups, 1), columns};
}

/// Statistics and sizes of a launch.
class ChannelStatistics {
 public:
  ChannelStatistics(const NormAttributes& norm, const Piece& x, const Piece& sum,
                    const Piece& square_sum)
      : size(channel_rows(norm.operand, norm.over, norm.group, x, sum)),
        norm_(norm),
        sums_(data_of<double>(sum)),
        square_sums_(data_of<double>(square_sum)),
        n_(static_cast<double>(norm.group)) {
    for (std::size_t d = 0; d < norm.operand.size(); ++d) {
      if (norm.over.find(norm.operand[d]) != Dims::npos) n_ *= static_cast<double>(x.full[d]);
    }
  }

  [[nodiscard]] double n() const { return n_; }
  [[nodiscard]] RowMoments moments(std::int64_t group, std::int64_t column) const {
    const std::int64_t i = group * size.columns + column;
    const double mean = norm_.rms ? 0.0 : sums_[i] / n_;
    return {mean, 1.0 / std::sqrt(square_sums_[i] / n_ - mean * mean + norm_.epsilon)};
  }

  ChannelRows size;

 private:
  const NormAttributes& norm_;
  const double *sums_, *square_sums_;
  double n_;
};

inline constexpr std::int64_t kChannels = 256;  ///< columns of a block
template <class V>
using ChannelArray = std::array<V, static_cast<std::size_t>(kChannels)>;

/// Calls f(group, first column, columns) for blocks of columns of every group, over threads.
template <class F>
void for_each_column_block(const ChannelRows& size, int threads, const F& f) {
  const std::int64_t share = size.columns * size.groups / std::max(threads, 1);
  const std::int64_t width = std::clamp<std::int64_t>((share + 15) / 16 * 16, 16, kChannels);
  const std::int64_t blocks = (size.columns + width - 1) / width;
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, size.rows * width));
  parallel_for(threads, size.groups * blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t column = i % blocks * width;
      f(i / blocks, column, std::min(width, size.columns - column));
    }
  });
}

/// Calls f(group, first row, end of rows, first column, columns) for parts of the matrix, rows
/// counted over all groups.
template <class F>
void for_each_row_block(const ChannelRows& size, int threads, const F& f) {
  parallel_for(threads, size.groups * size.rows, row_grain(size.columns),
               [&](std::int64_t begin, std::int64_t end) {
                 while (begin < end) {
                   const std::int64_t group = begin / size.rows;
                   const std::int64_t stop = std::min(end, (group + 1) * size.rows);
                   for (std::int64_t column = 0; column < size.columns; column += kChannels) {
                     f(group, begin, stop, column, std::min(kChannels, size.columns - column));
                   }
                   begin = stop;
                 }
               });
}

/// Two terms of a sum, of one element.
template <class T>
struct TwoTerms {
  T first, second;
};

/// (first[i], second[i]) += the two terms of each row, which term(row offset, column) gives. The
/// terms of these few rows add up in T, all rows in f64.
template <class T, int rows, class Term>
void add_rows(std::int64_t stride, std::int64_t width, double* first, double* second,
              const Term& term) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < width; ++i) {
    T a = 0, b = 0;
#pragma GCC unroll 8
    for (int row = 0; row < rows; ++row) {
      const TwoTerms<T> terms = term(row * stride, i);
      a += terms.first;
      b += terms.second;
    }
    first[i] += static_cast<double>(a);
    second[i] += static_cast<double>(b);
  }
}

/// Sums of two terms down columns of `count` rows; term(place in the matrix, column of the block).
template <class T, class Term>
void sum_columns(std::int64_t place, std::int64_t count, std::int64_t stride, std::int64_t width,
                 double* first, double* second, const Term& term) {
  constexpr int kRows = 8;
  std::int64_t row = 0;
  for (; row + kRows <= count; row += kRows) {
    const std::int64_t base = place + row * stride;
    add_rows<T, kRows>(stride, width, first, second, [&](std::int64_t offset, std::int64_t i) {
      return term(base + offset + i, i);
    });
  }
  for (; row < count; ++row) {
    const std::int64_t base = place + row * stride;
    add_rows<T, 1>(stride, width, first, second,
                   [&](std::int64_t offset, std::int64_t i) { return term(base + offset + i, i); });
  }
}

template <class T>
void channel_moments(const NormMoments& kernel, const Launch& launch, int threads) {
  const ChannelRows size = channel_rows(kernel.operand, kernel.over, kernel.group,
                                        launch.operands[0], launch.results[0]);
  const T* x = data_of<T>(launch.operands[0]);
  double* sums = mutable_data_of<double>(launch.results[0]);
  double* square_sums = mutable_data_of<double>(launch.results[1]);
  for_each_column_block(
      size, threads, [&](std::int64_t group, std::int64_t column, std::int64_t width) {
        ChannelArray<double> sum{}, square{};
        sum_columns<T>(group * size.rows * size.columns + column, size.rows, size.columns, width,
                       sum.data(), square.data(), [&](std::int64_t at, std::int64_t) {
                         return TwoTerms<T>{x[at], x[at] * x[at]};
                       });
        std::copy_n(sum.data(), width, sums + group * size.columns + column);
        std::copy_n(square.data(), width, square_sums + group * size.columns + column);
      });
}

template <class T>
void channel_apply(const NormApply& kernel, const Launch& launch, int threads) {
  const auto& in = launch.operands;
  const ChannelStatistics known(kernel.norm, in[0], in[1], in[2]);
  const ChannelRows size = known.size;
  const T *x = data_of<T>(in[0]), *scale = data_of<T>(in[3]);
  const T* bias = kernel.bias ? data_of<T>(in[4]) : nullptr;
  T* y = mutable_data_of<T>(launch.results[0]);
  for_each_row_block(size, threads,
                     [&](std::int64_t group, std::int64_t begin, std::int64_t end,
                         std::int64_t column, std::int64_t width) {
                       ChannelArray<T> mean, slope, shift;
                       T *m = mean.data(), *a = slope.data(), *b = shift.data();
                       for (std::int64_t i = 0; i < width; ++i) {
                         const RowMoments moments = known.moments(group, column + i);
                         m[i] = static_cast<T>(moments.mean);
                         a[i] = static_cast<T>(moments.rstd) * scale[column + i];
                         b[i] = bias == nullptr ? T(0) : bias[column + i];
                       }
                       for (std::int64_t row = begin; row < end; ++row) {
                         const T* from = x + row * size.columns + column;
                         fill_run(y + row * size.columns + column, width,
                                  [&](std::int64_t i) { return (from[i] - m[i]) * a[i] + b[i]; });
                       }
                     });
}

template <class T>
void channel_gradient_moments(const NormGradientMoments& kernel, const Launch& launch,
                              int threads) {
  const auto& in = launch.operands;
  const ChannelStatistics known(kernel.norm, in[1], in[2], in[3]);
  const ChannelRows size = known.size;
  const T *dy = data_of<T>(in[0]), *x = data_of<T>(in[1]), *scale = data_of<T>(in[4]);
  double* g_sums = mutable_data_of<double>(launch.results[0]);
  double* gx_sums = mutable_data_of<double>(launch.results[1]);
  for_each_column_block(
      size, threads, [&](std::int64_t group, std::int64_t column, std::int64_t width) {
        ChannelArray<double> sum{}, product{}, rstd;
        ChannelArray<T> mean;
        for (std::int64_t i = 0; i < width; ++i) {
          const RowMoments moments = known.moments(group, column + i);
          mean[static_cast<std::size_t>(i)] = static_cast<T>(moments.mean);
          rstd[static_cast<std::size_t>(i)] = moments.rstd;
        }
        const T* m = mean.data();
        sum_columns<T>(group * size.rows * size.columns + column, size.rows, size.columns, width,
                       sum.data(), product.data(), [&](std::int64_t at, std::int64_t i) {
                         return TwoTerms<T>{dy[at], dy[at] * (x[at] - m[i])};
                       });
        for (std::int64_t i = 0; i < width; ++i) {
          const auto s = static_cast<double>(scale[column + i]);
          const auto j = static_cast<std::size_t>(i);
          g_sums[group * size.columns + column + i] = sum[j] * s;
          gx_sums[group * size.columns + column + i] = product[j] * rstd[j] * s;
        }
      });
}

template <class T>
void channel_gradient_input(const NormGradientInput& kernel, const Launch& launch, int threads) {
  const auto& in = launch.operands;
  const ChannelStatistics known(kernel.norm, in[1], in[2], in[3]);
  const ChannelRows size = known.size;
  const T *dy = data_of<T>(in[0]), *x = data_of<T>(in[1]), *scale = data_of<T>(in[4]);
  const double *g_sums = data_of<double>(in[5]), *gx_sums = data_of<double>(in[6]);
  T* dx = mutable_data_of<T>(launch.results[0]);
  for_each_row_block(size, threads,
                     [&](std::int64_t group, std::int64_t begin, std::int64_t end,
                         std::int64_t column, std::int64_t width) {
                       ChannelArray<T> mean, of_dy, shift, of_x;  // dx = dy p - q - (x - mean) r
                       T *m = mean.data(), *p = of_dy.data(), *q = shift.data(), *r = of_x.data();
                       for (std::int64_t i = 0; i < width; ++i) {
                         const RowMoments moments = known.moments(group, column + i);
                         const std::int64_t at = group * size.columns + column + i;
                         const double g_mean = kernel.norm.rms ? 0.0 : g_sums[at] / known.n();
                         m[i] = static_cast<T>(moments.mean);
                         p[i] = static_cast<T>(moments.rstd) * scale[column + i];
                         q[i] = static_cast<T>(moments.rstd * g_mean);
                         r[i] =
                             static_cast<T>(moments.rstd * moments.rstd * gx_sums[at] / known.n());
                       }
                       for (std::int64_t row = begin; row < end; ++row) {
                         const T* from = x + row * size.columns + column;
                         const T* slope = dy + row * size.columns + column;
                         fill_run(dx + row * size.columns + column, width, [&](std::int64_t i) {
                           return slope[i] * p[i] - q[i] - (from[i] - m[i]) * r[i];
                         });
                       }
                     });
}

template <class T>
void channel_gradient_parameters(const NormGradientParameters& kernel, const Launch& launch,
                                 int threads) {
  const auto& in = launch.operands;
  const ChannelStatistics known(kernel.norm, in[1], in[2], in[3]);
  const ChannelRows size = known.size;
  const T *dy = data_of<T>(in[0]), *x = data_of<T>(in[1]);
  const ChannelRows together{1, size.groups * size.rows, size.columns};
  for_each_column_block(
      together, threads, [&](std::int64_t, std::int64_t column, std::int64_t width) {
        ChannelArray<double> bias{}, scale{};
        ChannelArray<T> mean, rstd;
        const T *m = mean.data(), *a = rstd.data();
        for (std::int64_t group = 0; group < size.groups; ++group) {
          for (std::int64_t i = 0; i < width; ++i) {
            const RowMoments moments = known.moments(group, column + i);
            mean[static_cast<std::size_t>(i)] = static_cast<T>(moments.mean);
            rstd[static_cast<std::size_t>(i)] = static_cast<T>(moments.rstd);
          }
          sum_columns<T>(group * size.rows * size.columns + column, size.rows, size.columns, width,
                         bias.data(), scale.data(), [&](std::int64_t at, std::int64_t i) {
                           return TwoTerms<T>{dy[at], dy[at] * (x[at] - m[i]) * a[i]};
                         });
        }
        for (std::int64_t i = 0; i < width; ++i) {
          const auto j = static_cast<std::size_t>(i);
          kernels::store(launch.results[0], column + i, scale[j]);
          if (kernel.bias) kernels::store(launch.results[1], column + i, bias[j]);
        }
      });
}

}  // namespace alpa::cpu
