#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "cpu/map.hpp"
#include "cpu/philox.hpp"

/// Kernels on the rows and columns of a dense matrix: reductions, losses, embeddings, dropout.
namespace alpa::cpu {

inline constexpr std::int64_t kGrain = 4096;  ///< elements worth a thread

template <class T>
const T* data_of(const Piece& piece) {
  ALPA_CHECK(piece.dtype == kDTypeOf<T>);
  return reinterpret_cast<const T*>(piece.data);
}
template <class T>
T* mutable_data_of(const Piece& piece) {
  ALPA_CHECK(piece.dtype == kDTypeOf<T>);
  return reinterpret_cast<T*>(piece.data);
}

/// A tensor as a matrix: `outer` letters are its rows, the rest, innermost, its columns.
struct RowsAndColumns {
  std::int64_t rows, columns;
};

/// Elements before and after dimension `outer`.
inline RowsAndColumns split_after(const Piece& piece, std::size_t outer) {
  RowsAndColumns size{1, 1};
  for (std::size_t d = 0; d < piece.box.extent.size(); ++d) {
    (d < outer ? size.rows : size.columns) *= piece.box.extent[d];
  }
  return size;
}

/// Rows worth one thread.
inline std::int64_t row_grain(std::int64_t columns) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(columns, 1));
}

template <class T>
double sum_of(const T* x, std::int64_t n, bool square) {
  double sum = 0.0;
  if (square) {
    for (std::int64_t i = 0; i < n; ++i)
      sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  } else {
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  }
  return sum;
}

template <class T>
double max_of(const T* x, std::int64_t n, bool square) {
  T largest = square ? x[0] * x[0] : x[0];
  for (std::int64_t i = 0; i < n; ++i) {
    const T value = square ? x[i] * x[i] : x[i];
    largest = value > largest ? value : largest;
  }
  return static_cast<double>(largest);
}

/// Everything into one number: fixed pieces, joined in order, so that threads do not change bits.
template <class T>
double reduce_all(const Reduce& kernel, const T* x, std::int64_t n, int threads) {
  constexpr std::int64_t kPieces = 256;
  const std::int64_t length = std::max<std::int64_t>(kGrain, (n + kPieces - 1) / kPieces);
  const std::int64_t pieces = (n + length - 1) / length;
  std::array<double, kPieces> partial{};
  parallel_for(threads, pieces, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t count = std::min(length, n - i * length);
      const bool sum = kernel.op == ReduceOp::sum;
      partial[static_cast<std::size_t>(i)] = sum ? sum_of(x + i * length, count, kernel.square)
                                                 : max_of(x + i * length, count, kernel.square);
    }
  });
  double total = partial[0];
  for (std::int64_t i = 1; i < pieces; ++i) {
    const double value = partial[static_cast<std::size_t>(i)];
    total = kernel.op == ReduceOp::sum ? total + value : std::max(total, value);
  }
  return total;
}

template <class T>
void reduce_rows(const Reduce& kernel, const Launch& launch, const RowsAndColumns& size,
                 int threads) {
  const T* x = data_of<T>(launch.operands[0]);
  parallel_for(threads, size.rows, row_grain(size.columns),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   const T* from = x + row * size.columns;
                   const bool sum = kernel.op == ReduceOp::sum;
                   kernels::store(launch.results[0], row,
                                  sum ? sum_of(from, size.columns, kernel.square)
                                      : max_of(from, size.columns, kernel.square));
                 }
               });
}

/// to[i] = combine(to[i], term(from[i])) over several rows of `columns` at once: each number of
/// `to` is read and written once for all of them.
template <int rows, class T, class Combine, class Term>
void combine_rows(const T* from, std::int64_t columns, std::int64_t width, double* to,
                  const Combine& combine, const Term& term) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < width; ++i) {
    double value = to[i];
#pragma GCC unroll 8
    for (int row = 0; row < rows; ++row) {
      value = combine(value, term(static_cast<double>(from[row * columns + i])));
    }
    to[i] = value;
  }
}

/// Threads take columns, so that each sum runs over the rows in order.
template <class T, class Combine, class Term>
void reduce_columns(const Launch& launch, const RowsAndColumns& size, double start, int threads,
                    const Combine& combine, const Term& term) {
  const T* x = data_of<T>(launch.operands[0]);
  constexpr std::int64_t kWidth = 512;
  constexpr int kRows = 8;
  const std::int64_t workers = std::clamp<std::int64_t>(size.columns / 32, 1, threads);
  parallel_for(threads, workers, 1, [&](std::int64_t first_worker, std::int64_t last_worker) {
    const std::int64_t end = size.columns * last_worker / workers;
    std::int64_t width = 0;
    for (std::int64_t column = size.columns * first_worker / workers; column < end;
         column += width) {
      width = std::min(kWidth, end - column);
      std::array<double, kWidth> acc;
      acc.fill(start);
      const T* from = x + column;
      std::int64_t row = 0;
      for (; row + kRows <= size.rows; row += kRows) {
        combine_rows<kRows>(from + row * size.columns, size.columns, width, acc.data(), combine,
                            term);
      }
      for (; row < size.rows; ++row) {
        combine_rows<1>(from + row * size.columns, size.columns, width, acc.data(), combine, term);
      }
      for (std::int64_t i = 0; i < width; ++i) {
        kernels::store(launch.results[0], column + i, acc[static_cast<std::size_t>(i)]);
      }
    }
  });
}

template <class T>
void reduce_columns(const Reduce& kernel, const Launch& launch, const RowsAndColumns& size,
                    int threads) {
  const auto with_term = [&](double start, const auto& combine) {
    if (kernel.square)
      reduce_columns<T>(launch, size, start, threads, combine, [](double x) { return x * x; });
    else
      reduce_columns<T>(launch, size, start, threads, combine, [](double x) { return x; });
  };
  if (kernel.op == ReduceOp::sum)
    with_term(0.0, [](double a, double b) { return a + b; });
  else
    with_term(std::numeric_limits<double>::lowest(),
              [](double a, double b) { return std::max(a, b); });
}

/// False where the result's letters are neither the first nor the last of the operand's.
template <class T>
[[nodiscard]] bool run_reduce(const Reduce& kernel, const Launch& launch, int threads) {
  const Piece& x = launch.operands[0];
  kernels::Letters sizes;
  sizes.add(kernel.operand, x);
  sizes.add(kernel.result, launch.results[0]);
  const std::size_t kept = kernel.result.size();
  if (kept == 0) {
    const double value = reduce_all<T>(kernel, data_of<T>(x), num_elements(x.box.extent), threads);
    kernels::store(launch.results[0], 0, value);
    return true;
  }
  if (kernel.operand.starts_with(kernel.result)) {
    reduce_rows<T>(kernel, launch, split_after(x, kept), threads);
    return true;
  }
  if (kernel.operand.ends_with(kernel.result)) {
    reduce_columns<T>(kernel, launch, split_after(x, kernel.operand.size() - kept), threads);
    return true;
  }
  return false;
}

template <class T>
double sum_exp_of(const T* x, T maximum, std::int64_t n) {
  double sum = 0.0;
  for (std::int64_t begin = 0; begin < n; begin += kRun) {
    T part = T(0);
    for (std::int64_t i = begin; i < std::min(begin + kRun, n); ++i)
      part += exponential(x[i] - maximum);
    sum += static_cast<double>(part);
  }
  return sum;
}

/// False where the summed letters are not the last.
template <class T>
[[nodiscard]] bool run_sum_exp(const SumExp& kernel, const Launch& launch, int threads) {
  if (!kernel.operand.starts_with(kernel.result)) return false;
  const Piece &operand = launch.operands[0], &maximum = launch.operands[1];
  kernels::Letters sizes;
  sizes.add(kernel.operand, operand);
  sizes.add(kernel.result, maximum);
  sizes.add(kernel.result, launch.results[0]);
  const auto size = split_after(operand, kernel.result.size());
  const T* x = data_of<T>(operand);
  parallel_for(threads, size.rows, row_grain(size.columns),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   const T shift = static_cast<T>(kernels::load(maximum, row));
                   kernels::store(launch.results[0], row,
                                  sum_exp_of(x + row * size.columns, shift, size.columns));
                 }
               });
  return true;
}

/// Whether the classes are the last dimension, and labels the ones before, in order.
inline bool classes_last(const Dims& operand, const Dims& labels, char letter) {
  return operand == labels + letter;
}

template <class T>
[[nodiscard]] bool run_pick(const Pick& kernel, const Launch& launch, int threads) {
  if (!classes_last(kernel.operand, kernel.labels, kernel.letter)) return false;
  const Piece& operand = launch.operands[0];
  kernels::Letters sizes;
  sizes.add(kernel.operand, operand);
  sizes.add(kernel.labels, launch.operands[1]);
  sizes.add(kernel.labels, launch.results[0]);
  const kernels::LetterSize classes = sizes.at(kernel.letter);
  const std::int32_t* labels = kernels::integers(launch.operands[1]);
  const T* x = data_of<T>(operand);
  const double even = kernel.smoothing / static_cast<double>(classes.full);
  const std::int64_t n = classes.extent;
  const std::int64_t grain = even == 0.0 ? kGrain : row_grain(n);
  parallel_for(
      threads, sizes.elements(kernel.labels), grain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t label = labels[row] - classes.offset;
          const bool held = label >= 0 && label < n;
          double value = held ? static_cast<double>(x[row * n + label]) : 0.0;
          if (even != 0.0) {
            value = (1.0 - kernel.smoothing) * value + even * sum_of(x + row * n, n, false);
          }
          kernels::store(launch.results[0], row, value);
        }
      });
  return true;
}

template <class T>
[[nodiscard]] bool run_cross_entropy_gradient(const CrossEntropyGradient& kernel,
                                              const Launch& launch, int threads) {
  if (!classes_last(kernel.operand, kernel.labels, kernel.letter)) return false;
  const Piece& operand = launch.operands[0];
  kernels::Letters sizes;
  sizes.add(kernel.operand, operand);
  for (const std::size_t i : {1U, 2U, 3U, 4U}) sizes.add(kernel.labels, launch.operands[i]);
  sizes.add(kernel.operand, launch.results[0]);
  const kernels::LetterSize classes = sizes.at(kernel.letter);
  const std::int32_t* labels = kernels::integers(launch.operands[3]);
  const double inverse_weight = kernels::scalar(launch.operands[5]);
  const T* x = data_of<T>(operand);
  T* dx = mutable_data_of<T>(launch.results[0]);
  const double even = kernel.smoothing / static_cast<double>(classes.full);
  const std::int64_t rows = sizes.elements(kernel.labels), n = classes.extent;
  parallel_for(threads, rows, row_grain(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const double weight = kernels::load(launch.operands[4], row) * inverse_weight;
      const T maximum = static_cast<T>(kernels::load(launch.operands[1], row));
      const T factor = static_cast<T>(weight / kernels::load(launch.operands[2], row));
      const T* from = x + row * n;
      T* to = dx + row * n;
      const T shift = static_cast<T>(weight * even);
      fill_run(to, n,
               [&](std::int64_t i) { return exponential(from[i] - maximum) * factor - shift; });
      const std::int64_t label = labels[row] - classes.offset;
      if (label >= 0 && label < n) to[label] -= static_cast<T>(weight * (1.0 - kernel.smoothing));
    }
  });
  return true;
}

/// Whether a table has its rows first, and what it embeds its columns last.
inline bool table_of_rows(const Dims& table, const Dims& ids, const Dims& embedded) {
  return table.size() == 2 && embedded == ids + table[1];
}

/// Copies only: T is any type of the elements' size.
template <class T>
[[nodiscard]] bool run_embedding(const Embedding& kernel, const Launch& launch, int threads) {
  if (!table_of_rows(kernel.table, kernel.ids, kernel.result)) return false;
  kernels::Letters sizes;
  sizes.add(kernel.table, launch.operands[0]);
  sizes.add(kernel.ids, launch.operands[1]);
  sizes.add(kernel.result, launch.results[0]);
  const kernels::LetterSize rows = sizes.at(kernel.table[0]);
  const std::int64_t columns = sizes.extent(kernel.table[1]);
  const std::int32_t* ids = kernels::integers(launch.operands[1]);
  const auto* table = reinterpret_cast<const T*>(launch.operands[0].data);
  auto* result = reinterpret_cast<T*>(launch.results[0].data);
  parallel_for(threads, sizes.elements(kernel.ids), row_grain(columns),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const std::int64_t row = ids[i] - rows.offset;
                   T* to = result + i * columns;
                   if (row >= 0 && row < rows.extent)
                     std::copy_n(table + row * columns, columns, to);
                   else
                     std::fill_n(to, columns, T(0));
                 }
               });
  return true;
}

/// Threads take columns: ids repeat, so rows cannot be shared out.
template <class T>
[[nodiscard]] bool run_embedding_gradient(const EmbeddingGradient& kernel, const Launch& launch,
                                          int threads) {
  if (!table_of_rows(kernel.table, kernel.ids, kernel.gradient)) return false;
  kernels::Letters sizes;
  sizes.add(kernel.gradient, launch.operands[0]);
  sizes.add(kernel.ids, launch.operands[1]);
  sizes.add(kernel.table, launch.results[0]);
  const kernels::LetterSize rows = sizes.at(kernel.table[0]);
  const std::int64_t columns = sizes.extent(kernel.table[1]);
  const std::int64_t count = sizes.elements(kernel.ids);
  const std::int32_t* ids = kernels::integers(launch.operands[1]);
  const T* gradient = data_of<T>(launch.operands[0]);
  T* table = mutable_data_of<T>(launch.results[0]);
  parallel_for(threads, rows.extent * columns, 16 * kGrain,
               [&](std::int64_t begin, std::int64_t end) {
                 std::memset(table + begin, 0, static_cast<std::size_t>(end - begin) * sizeof(T));
               });
  parallel_for(threads, columns, 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = ids[i] - rows.offset;
      if (row < 0 || row >= rows.extent) continue;
      T* to = table + row * columns;
      const T* from = gradient + i * columns;
      for (std::int64_t column = begin; column < end; ++column) to[column] += from[column];
    }
  });
  return true;
}

template <class T>
void run_dropout(const Dropout& kernel, const Launch& launch, int threads) {
  kernels::Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  sizes.add(kernel.operand, launch.results[0]);
  const T* x = data_of<T>(launch.operands[0]);
  T* y = mutable_data_of<T>(launch.results[0]);
  const kernels::DropoutMask mask(kernel.dropout, launch.operands[1], launch.operands[2]);
  if (!mask.active()) {
    if (x != y) std::copy_n(x, sizes.elements(kernel.operand), y);
    return;
  }
  const kernels::Loops loops = kernels::loops_over(kernel.operand, sizes);
  const std::array<kernels::Affine, 2> numbers = {
      kernels::element_of(kernel.operand, loops, sizes),
      kernels::global_index_of(kernel.operand, loops, sizes, launch)};
  const Nest nest = collapse(loops, numbers);
  const DropoutLanes lanes(mask);
  parallel_for(threads, nest.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    std::array<T, kRun> factors;
    for_each_run(nest, begin, end, kRun, [&](std::span<const std::int64_t> at, std::int64_t n) {
      lanes.factors(at[1], nest.inner_stride(1), n, static_cast<T>(mask.scale()), factors.data());
      const T *from = x + at[0], *factor = factors.data();
      fill_run(y + at[0], n, [&](std::int64_t i) { return from[i] * factor[i]; });
    });
  });
}

}  // namespace alpa::cpu
