#pragma once

#include <optional>
#include <type_traits>

#include "alpa/base/error.hpp"

#include "cpu/contraction.hpp"
#include "cpu/gemm.hpp"
#include "cpu/sgemm.hpp"
#include "cpu/threads.hpp"
#include "cpu/transpose.hpp"

namespace alpa::cpu {

/// How one batch element is cut into parts for threads: along m or n, whichever is longer.
struct Parts {
  bool of_rows = true;
  std::int64_t count = 1;
};

template <class T>
Parts parts_of(const Contraction& c, int threads) {
  const bool of_rows = c.m.size() >= c.n.size();
  const std::int64_t tiles = of_rows ? c.m.size() / Tile<T>::kRows : c.n.size() / Tile<T>::kColumns;
  const bool worth_it = c.m.size() * c.n.size() * c.k.size() > 64 * 64 * 64;
  if (c.batches() >= threads || !worth_it) return {of_rows, 1};
  return {of_rows, std::clamp<std::int64_t>(tiles, 1, threads)};
}

/// Offsets of m, n and k in their tensors, and each thread's scratch.
template <class T>
class EinsumWorkspace {
 public:
  EinsumWorkspace(const Contraction& c, int threads)
      : offsets_(2 * (c.m.size() + c.n.size() + c.k.size())),
        scratch_(round_up(gemm_scratch<T>(c.m.size(), c.n.size(), c.k.size()), 16)),
        threads_(threads) {}

  [[nodiscard]] Bytes size() const {
    const std::int64_t offsets = round_up(offsets_ * std::int64_t{sizeof(std::int64_t)}, 64);
    return Bytes{offsets + threads_ * scratch_ * std::int64_t{sizeof(T)} + kAlignment};
  }

  /// Lays itself out in memory of size() bytes.
  void place(std::byte* memory) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    memory += (kAlignment - address % kAlignment) % kAlignment;
    offset_memory_ = reinterpret_cast<std::int64_t*>(memory);
    scratch_memory_ =
        reinterpret_cast<T*>(memory + round_up(offsets_ * std::int64_t{sizeof(std::int64_t)}, 64));
  }
  [[nodiscard]] std::int64_t* offsets() const { return offset_memory_; }
  [[nodiscard]] T* scratch(std::int64_t thread) const {
    return scratch_memory_ + thread * scratch_;
  }

 private:
  static constexpr std::int64_t kAlignment = 64;
  std::int64_t offsets_, scratch_;
  std::int64_t threads_;
  std::int64_t* offset_memory_ = nullptr;
  T* scratch_memory_ = nullptr;
};

template <class T>
struct ThreeMatrices {
  Matrix<const T> left, right;
  Matrix<T> result;
};

template <class T>
ThreeMatrices<T> scattered(const Contraction& c, const Launch& launch, std::int64_t* offsets) {
  const auto next = [&](const IndexGroup& group, const std::vector<std::int64_t>& strides) {
    std::int64_t* begin = offsets;
    write_offsets(group.extents, strides, begin);
    offsets += group.size();
    return begin;
  };
  const auto* left = reinterpret_cast<const T*>(launch.operands[0].data);
  const auto* right = reinterpret_cast<const T*>(launch.operands[1].data);
  auto* result = reinterpret_cast<T*>(launch.results[0].data);
  const auto *m_left = next(c.m, c.m.first), *m_result = next(c.m, c.m.second);
  const auto *n_right = next(c.n, c.n.first), *n_result = next(c.n, c.n.second);
  const auto *k_left = next(c.k, c.k.first), *k_right = next(c.k, c.k.second);
  return {{left, m_left, k_left}, {right, k_right, n_right}, {result, m_result, n_result}};
}

/// Plain loops for many tiny products. Sums in f64.
template <class T>
void tiny_products(const Contraction& c, const ThreeMatrices<T>& matrices, std::int64_t begin,
                   std::int64_t end) {
  const auto& [left, right, result] = matrices;
  const std::int64_t m = c.m.size(), n = c.n.size(), k = c.k.size();
  for (std::int64_t batch = begin; batch < end; ++batch) {
    const BatchOffsets at = batch_offsets(c, batch);
    for (std::int64_t i = 0; i < m; ++i) {
      const T* row = left.data + at.left + left.rows[i];
      for (std::int64_t j = 0; j < n; ++j) {
        const T* column = right.data + at.right + right.columns[j];
        double sum = 0.0;
        for (std::int64_t p = 0; p < k; ++p) {
          sum += static_cast<double>(row[left.columns[p]]) *
                 static_cast<double>(column[right.rows[p]]);
        }
        result.data[at.result + result.rows[i] + result.columns[j]] = static_cast<T>(c.scale * sum);
      }
    }
  }
}

/// Batches, each cut into parts, over the threads.
template <class T>
void blocked_products(const Contraction& c, const ThreeMatrices<T>& matrices,
                      const EinsumWorkspace<T>& workspace, int threads) {
  const Parts parts = parts_of<T>(c, threads);
  const std::int64_t length = parts.of_rows ? c.m.size() : c.n.size();
  const std::int64_t tasks = c.batches() * parts.count;
  const std::int64_t workers = std::min<std::int64_t>(threads, tasks);
  parallel_for(threads, workers, 1, [&](std::int64_t first_worker, std::int64_t last_worker) {
    for (std::int64_t worker = first_worker; worker < last_worker; ++worker) {
      for (std::int64_t task = tasks * worker / workers; task < tasks * (worker + 1) / workers;
           ++task) {
        const BatchOffsets at = batch_offsets(c, task / parts.count);
        const std::int64_t part = task % parts.count;
        const std::int64_t begin = length * part / parts.count;
        const std::int64_t count = length * (part + 1) / parts.count - begin;
        const std::int64_t row = parts.of_rows ? begin : 0, column = parts.of_rows ? 0 : begin;
        Matrix<const T> left = matrices.left.at(row, 0), right = matrices.right.at(0, column);
        Matrix<T> result = matrices.result.at(row, column);
        left.data += at.left;
        right.data += at.right;
        result.data += at.result;
        gemm<T>(left, right, result, parts.of_rows ? count : c.m.size(),
                parts.of_rows ? c.n.size() : count, c.k.size(), static_cast<T>(c.scale),
                workspace.scratch(worker));
      }
    }
  });
}

/// The library's product of one batch element, where all three tensors are matrices for it.
struct LibraryProduct {
  /// The library is slow where both operands run along k, and where there are few rows: then
  /// something is transposed first.
  enum class First : std::uint8_t {
    nothing,
    left,   ///< left^T; result^T = right^T left^T, some of its rows at a time, after it
    right,  ///< right^T, some columns at a time
  };

  Sgemm shape;
  bool swapped;  ///< result^T = right^T left^T: the operands change places
  First first;

  /// Columns of the result that are done at once: a share of the cache.
  [[nodiscard]] std::int64_t columns_at_once() const {
    constexpr std::int64_t kElements = std::int64_t{1} << 20U;
    const std::int64_t depth = first == First::left ? shape.m : shape.k;
    return std::clamp<std::int64_t>(round_up(kElements / depth, 64), 64, round_up(shape.n, 64));
  }
  /// Rows of left, to whole vectors: then rows of left^T and result^T share no cache lines.
  [[nodiscard]] std::int64_t rows_across() const { return round_up(shape.m, 16); }
  /// Elements that one call needs beside its operands.
  [[nodiscard]] std::int64_t scratch() const {
    if (first == First::left) return (shape.k + columns_at_once()) * rows_across();
    return first == First::right ? shape.k * columns_at_once() : 0;
  }
};

inline LibraryProduct::First transposed_first(const Sgemm& shape) {
  using First = LibraryProduct::First;
  constexpr std::int64_t kWorthIt = 64 * 64 * 64, kFewRows = 64;
  if (shape.transpose_left || shape.m * shape.n * shape.k < kWorthIt) return First::nothing;
  const std::int64_t by_left = shape.m * (shape.k + shape.n), by_right = shape.n * shape.k;
  if (!shape.transpose_right) {
    const bool few = shape.m >= 16 && shape.m <= kFewRows && 8 * by_left <= by_right;
    return few ? First::left : First::nothing;
  }
  return by_left <= by_right ? First::left : First::right;
}

inline std::optional<LibraryProduct> library_product(const Contraction& c) {
  if (!has_sgemm() || is_tiny(c)) return std::nullopt;
  const auto left = dense_matrix(c.m, c.m.first, c.k, c.k.first);
  const auto right = dense_matrix(c.k, c.k.second, c.n, c.n.first);
  const auto result = dense_matrix(c.m, c.m.second, c.n, c.n.second);
  if (!left || !right || !result) return std::nullopt;
  const auto scale = static_cast<float>(c.scale);
  const std::int64_t m = c.m.size(), n = c.n.size(), k = c.k.size();
  const bool swapped = result->transposed;
  const Sgemm shape =
      swapped ? Sgemm{!right->transposed, !left->transposed, n, m, k, scale, right->leading,
                      left->leading,      result->leading}
              : Sgemm{left->transposed, right->transposed, m, n, k, scale, left->leading,
                      right->leading,   result->leading};
  return LibraryProduct{shape, swapped, transposed_first(shape)};
}

/// result = left right by way of left^T and result^T, some columns at a time.
inline void transposed_left(const LibraryProduct& product, const float* left, const float* right,
                            float* result, float* scratch, int threads) {
  const Sgemm& shape = product.shape;
  const std::int64_t leading = product.rows_across();
  float* left_across = scratch;
  float* result_across = scratch + shape.k * leading;
  parallel_for(threads, shape.k, 256, [&](std::int64_t begin, std::int64_t end) {
    transpose<float>({left + begin, shape.leading_left}, {left_across + begin * leading, leading},
                     shape.m, end - begin);
  });
  const std::int64_t step = product.columns_at_once();
  for (std::int64_t column = 0; column < shape.n; column += step) {
    const std::int64_t columns = std::min(step, shape.n - column);
    const float* part = right + column * (shape.transpose_right ? shape.leading_right : 1);
    sgemm({!shape.transpose_right, false, columns, shape.m, shape.k, shape.scale,
           shape.leading_right, leading, leading},
          part, left_across, result_across, threads);
    parallel_for(threads, columns, 256, [&](std::int64_t begin, std::int64_t end) {
      transpose<float>({result_across + begin * leading, leading},
                       {result + column + begin, shape.leading_result}, end - begin, shape.m);
    });
  }
}

/// result = left right^T, some columns at a time.
inline void transposed_right(const LibraryProduct& product, const float* left, const float* right,
                             float* result, float* scratch, int threads) {
  const Sgemm& shape = product.shape;
  const std::int64_t leading = product.columns_at_once();
  for (std::int64_t column = 0; column < shape.n; column += leading) {
    const std::int64_t columns = std::min(leading, shape.n - column);
    const float* rows = right + column * shape.leading_right;
    parallel_for(threads, shape.k / 16 + 1, 4, [&](std::int64_t begin, std::int64_t end) {
      begin *= 16;
      end = std::min(end * 16, shape.k);
      transpose<float>({rows + begin, shape.leading_right}, {scratch + begin * leading, leading},
                       columns, end - begin);
    });
    sgemm({false, false, shape.m, columns, shape.k, shape.scale, shape.leading_left, leading,
           shape.leading_result},
          left, scratch, result + column, threads);
  }
}

inline void run_library(const Contraction& c, const LibraryProduct& product, const Launch& launch,
                        int threads) {
  const auto* left = reinterpret_cast<const float*>(launch.operands[0].data);
  const auto* right = reinterpret_cast<const float*>(launch.operands[1].data);
  auto* result = reinterpret_cast<float*>(launch.results[0].data);
  const std::int64_t workers = c.batches() >= threads ? threads : 1;
  const int threads_each = workers > 1 ? 1 : threads;
  auto* scratch = reinterpret_cast<float*>(launch.workspace.data());
  parallel_for(static_cast<int>(workers), workers, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t worker = first; worker < last; ++worker) {
      float* mine = scratch + worker * product.scratch();
      for (std::int64_t i = c.batches() * worker / workers;
           i < c.batches() * (worker + 1) / workers; ++i) {
        const BatchOffsets at = batch_offsets(c, i);
        const float* a = product.swapped ? right + at.right : left + at.left;
        const float* b = product.swapped ? left + at.left : right + at.right;
        float* to = result + at.result;
        switch (product.first) {
          case LibraryProduct::First::nothing:
            sgemm(product.shape, a, b, to, threads_each);
            break;
          case LibraryProduct::First::left:
            transposed_left(product, a, b, to, mine, threads_each);
            break;
          case LibraryProduct::First::right:
            transposed_right(product, a, b, to, mine, threads_each);
            break;
        }
      }
    }
  });
}

template <class T>
[[nodiscard]] Bytes einsum_workspace(const Einsum& kernel, const Launch& launch, int threads) {
  const Contraction c = contraction_of(kernel, launch);
  if constexpr (std::is_same_v<T, float>) {
    if (const auto product = library_product(c)) {
      const std::int64_t workers = c.batches() >= threads ? threads : 1;
      return Bytes{workers * product->scratch() * std::int64_t{sizeof(float)}};
    }
  }
  return EinsumWorkspace<T>(c, threads).size();
}

template <class T>
void run_einsum(const Einsum& kernel, const Launch& launch, int threads) {
  const Contraction c = contraction_of(kernel, launch);
  if constexpr (std::is_same_v<T, float>) {
    if (const auto product = library_product(c)) {
      ALPA_CHECK(static_cast<std::int64_t>(launch.workspace.size()) >=
                 einsum_workspace<T>(kernel, launch, threads).value);
      return run_library(c, *product, launch, threads);
    }
  }
  EinsumWorkspace<T> workspace(c, threads);
  ALPA_CHECK(static_cast<std::int64_t>(launch.workspace.size()) >= workspace.size().value);
  workspace.place(launch.workspace.data());
  const auto matrices = scattered<T>(c, launch, workspace.offsets());
  if (!is_tiny(c)) return blocked_products<T>(c, matrices, workspace, threads);
  parallel_for(threads, c.batches(), 1024, [&](std::int64_t begin, std::int64_t end) {
    tiny_products<T>(c, matrices, begin, end);
  });
}

}  // namespace alpa::cpu
