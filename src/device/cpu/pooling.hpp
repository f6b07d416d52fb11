#pragma once

#include <algorithm>

#include "cpu/rows.hpp"

/// Pooling with the channels last: each place of a window is a row of channels.
namespace alpa::cpu {

/// One side of pooling: pixels that a piece of the images holds, outputs that a piece has.
struct PooledSide {
  std::int64_t pixels, first_pixel, all_pixels;
  std::int64_t outputs, first_output;
  Window window;

  struct Range {
    std::int64_t begin, end;
  };
  /// Pixels of the whole image that output i of the piece sees.
  [[nodiscard]] Range seen(std::int64_t i) const {
    const std::int64_t begin = (i + first_output) * window.stride - window.padding;
    return {std::max<std::int64_t>(begin, 0), std::min(begin + window.size, all_pixels)};
  }
  /// Those of them that the piece holds, counted in it.
  [[nodiscard]] Range held(std::int64_t i) const {
    const Range all = seen(i);
    return {std::max(all.begin - first_pixel, std::int64_t{0}),
            std::min(all.end - first_pixel, pixels)};
  }
};

/// Pooling between pieces of images [b y x c] and of outputs [b h w c].
struct PoolingShape {
  std::int64_t images, c;
  PooledSide rows, columns;

  [[nodiscard]] std::int64_t image() const { return rows.pixels * columns.pixels * c; }
  [[nodiscard]] std::int64_t output() const { return rows.outputs * columns.outputs * c; }

  /// f(row, column) for the pixels of the piece that output (i, j) sees.
  template <class F>
  void for_each_pixel(std::int64_t i, std::int64_t j, const F& f) const {
    const auto [top, bottom] = rows.held(i);
    const auto [left, right] = columns.held(j);
    for (std::int64_t row = top; row < bottom; ++row) {
      for (std::int64_t column = left; column < right; ++column) f(row, column);
    }
  }
  [[nodiscard]] std::int64_t pixels_seen(std::int64_t i, std::int64_t j) const {
    const auto [top, bottom] = rows.seen(i);
    const auto [left, right] = columns.seen(j);
    return (bottom - top) * (right - left);
  }
};

inline PooledSide pooled_side(const Window& window, const Piece& images, const Piece& pooled,
                              std::size_t d) {
  ALPA_CHECK((images.full[d] + 2 * window.padding - window.size) / window.stride + 1 ==
             pooled.full[d]);
  return {images.box.extent[d], images.box.offset[d], images.full[d],
          pooled.box.extent[d], pooled.box.offset[d], window};
}

inline PoolingShape pooling_shape(const Window& window, const Piece& images, const Piece& pooled) {
  kernels::Letters sizes;
  sizes.add("byxc", images);
  sizes.add("bhwc", pooled);
  return {sizes.extent('b'), sizes.extent('c'), pooled_side(window, images, pooled, 1),
          pooled_side(window, images, pooled, 2)};
}

/// Calls f(image, row, column, place in the pooled tensor) for all outputs, over threads.
template <class F>
void for_each_output(const PoolingShape& s, int threads, const F& f) {
  const std::int64_t h = s.rows.outputs, w = s.columns.outputs, side = s.rows.window.size;
  parallel_for(threads, s.images * h, row_grain(w * s.c * side * side),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   for (std::int64_t j = 0; j < w; ++j) f(row / h, row % h, j, (row * w + j) * s.c);
                 }
               });
}

template <class T>
void run_max_pool(const MaxPool& kernel, const Launch& launch, int threads) {
  const PoolingShape s = pooling_shape(kernel.window, launch.operands[0], launch.results[0]);
  ALPA_CHECK(launch.results[1].box == launch.results[0].box);
  ALPA_CHECK(launch.results[1].dtype == DType::i32);
  const T* images = data_of<T>(launch.operands[0]);
  T* largest = mutable_data_of<T>(launch.results[0]);
  auto* places = reinterpret_cast<std::int32_t*>(launch.results[1].data);
  for_each_output(
      s, threads, [&](std::int64_t image, std::int64_t h, std::int64_t w, std::int64_t to) {
        T* best = largest + to;
        std::int32_t* where = places + to;
        bool first = true;
        s.for_each_pixel(h, w, [&](std::int64_t y, std::int64_t x) {
          const auto inside = static_cast<std::int32_t>(
              (y + s.rows.first_pixel) * s.columns.all_pixels + x + s.columns.first_pixel);
          const T* from = images + image * s.image() + (y * s.columns.pixels + x) * s.c;
          if (first) {
            std::copy_n(from, s.c, best);
            std::fill_n(where, s.c, inside);
            first = false;
            return;
          }
#pragma GCC ivdep
          for (std::int64_t c = 0; c < s.c; ++c) {
            const bool more = from[c] > best[c];
            best[c] = more ? from[c] : best[c];
            where[c] = more ? inside : where[c];
          }
        });
      });
}

template <class T>
void run_max_pool_gradient(const MaxPoolGradient& kernel, const Launch& launch, int threads) {
  const PoolingShape s = pooling_shape(kernel.window, launch.results[0], launch.operands[0]);
  ALPA_CHECK(launch.operands[1].box == launch.operands[0].box);
  const T* dy = data_of<T>(launch.operands[0]);
  const std::int32_t* places = kernels::integers(launch.operands[1]);
  T* dx = mutable_data_of<T>(launch.results[0]);
  const PooledSide &rows = s.rows, &columns = s.columns;
  const auto wide = static_cast<std::int32_t>(columns.all_pixels);
  parallel_for(threads, s.images, 1, [&](std::int64_t begin, std::int64_t end) {
    std::fill(dx + begin * s.image(), dx + end * s.image(), T(0));
    for (std::int64_t image = begin; image < end; ++image) {
      T* to = dx + image * s.image();
      for (std::int64_t i = image * s.output(); i < (image + 1) * s.output(); i += s.c) {
        for (std::int64_t c = 0; c < s.c; ++c) {
          const std::int64_t row = places[i + c] / wide - rows.first_pixel;
          const std::int64_t column = places[i + c] % wide - columns.first_pixel;
          if (row < 0 || row >= rows.pixels || column < 0 || column >= columns.pixels) continue;
          to[(row * columns.pixels + column) * s.c + c] += dy[i + c];
        }
      }
    }
  });
}

template <class T>
void run_average_pool(const AveragePool& kernel, const Launch& launch, int threads) {
  const PoolingShape s = pooling_shape(kernel.window, launch.operands[0], launch.results[0]);
  const T* images = data_of<T>(launch.operands[0]);
  T* means = mutable_data_of<T>(launch.results[0]);
  for_each_output(s, threads,
                  [&](std::int64_t image, std::int64_t h, std::int64_t w, std::int64_t to) {
                    const T share = T(1) / static_cast<T>(s.pixels_seen(h, w));
                    std::fill_n(means + to, s.c, T(0));
                    s.for_each_pixel(h, w, [&](std::int64_t y, std::int64_t x) {
                      const T* from = images + image * s.image() + (y * s.columns.pixels + x) * s.c;
                      for (std::int64_t c = 0; c < s.c; ++c) means[to + c] += from[c] * share;
                    });
                  });
}

template <class T>
void run_average_pool_gradient(const AveragePoolGradient& kernel, const Launch& launch,
                               int threads) {
  const PoolingShape s = pooling_shape(kernel.window, launch.results[0], launch.operands[0]);
  const T* dy = data_of<T>(launch.operands[0]);
  T* dx = mutable_data_of<T>(launch.results[0]);
  const std::int64_t wide = s.columns.outputs;
  parallel_for(threads, s.images, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t image = begin; image < end; ++image) {
      std::fill_n(dx + image * s.image(), s.image(), T(0));
      for (std::int64_t i = 0; i < s.rows.outputs * wide; ++i) {
        const T share = T(1) / static_cast<T>(s.pixels_seen(i / wide, i % wide));
        const T* from = dy + image * s.output() + i * s.c;
        s.for_each_pixel(i / wide, i % wide, [&](std::int64_t y, std::int64_t x) {
          T* to = dx + image * s.image() + (y * s.columns.pixels + x) * s.c;
          for (std::int64_t c = 0; c < s.c; ++c) to[c] += from[c] * share;
        });
      }
    }
  });
}

}  // namespace alpa::cpu
