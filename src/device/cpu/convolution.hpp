#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/convolution_shape.hpp"
#include "cpu/gemm.hpp"
#include "cpu/rows.hpp"

/// Convolutions as products of matrices whose elements lie where the window finds them: images get
/// a border of zeros, after which the place of (pixel, place in the window) is a sum of two offsets
/// and no image has to be unfolded.
namespace alpa::cpu {

/// One side of images with a border: `low` pixels before the first one that is kept, which is
/// number `skip`, and `extent` pixels in all.
struct BorderedSide {
  std::int64_t pixels, low, skip, extent;
  [[nodiscard]] std::int64_t kept() const { return std::min(pixels - skip, extent - low); }

  /// So that indices first ... last of the pixels can be read.
  static BorderedSide reaching(std::int64_t pixels, std::int64_t first, std::int64_t last) {
    const std::int64_t low = std::max<std::int64_t>(0, -first);
    const std::int64_t skip = std::max<std::int64_t>(0, first);
    return {pixels, low, skip, std::max<std::int64_t>(last - first + 1, low)};
  }
};

/// Images [b, rows, columns, channels] with a border of zeros, cut to what is read.
struct Bordered {
  std::int64_t images, channels;
  BorderedSide rows, columns;
  [[nodiscard]] std::int64_t elements() const {
    return images * rows.extent * columns.extent * channels;
  }
  [[nodiscard]] bool has_border() const {
    return rows.low + rows.skip + columns.low + columns.skip != 0 || rows.extent != rows.pixels ||
           columns.extent != columns.pixels;
  }
  /// Of pixel (row, column) counted from the border's corner.
  [[nodiscard]] std::int64_t at(std::int64_t image, std::int64_t row, std::int64_t column) const {
    return ((image * rows.extent + row) * columns.extent + column) * channels;
  }
};

/// floor(a / b), b > 0
inline std::int64_t floor_ratio(std::int64_t a, std::int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

/// Outputs that reach some pixel of one side of x: of the first pixel its lowest, of the last one
/// its highest.
inline BorderedSide reached(std::int64_t outputs, std::int64_t pixels, std::int64_t side,
                            std::int64_t before, std::int64_t stride) {
  return BorderedSide::reaching(outputs, floor_ratio(before - side + stride, stride),
                                floor_ratio(pixels - 1 + before, stride));
}

/// What the pass reads through a window: x, or for the gradient of x, dy.
inline Bordered bordered(ConvolutionPass pass, const ConvolutionShape& s) {
  if (pass == ConvolutionPass::input) {
    return {s.b, s.o, reached(s.h, s.y, s.k, s.top, s.stride),
            reached(s.w, s.x, s.l, s.left, s.stride)};
  }
  const auto seen = [&](std::int64_t pixels, std::int64_t places, std::int64_t side,
                        std::int64_t before) {
    const std::int64_t last = (places - 1) * s.stride - before + side - 1;
    return BorderedSide::reaching(pixels, -before, before <= 0 ? std::max(last, pixels - 1) : last);
  };
  return {s.b, s.c, seen(s.y, s.h, s.k, s.top), seen(s.x, s.w, s.l, s.left)};
}

/// The memory of one launch: images with their border, offsets of a product, scratch of threads.
template <class T>
class ConvolutionWorkspace {
 public:
  ConvolutionWorkspace(ConvolutionPass pass, const ConvolutionShape& s, int threads)
      : bordered_(bordered(pass, s)), threads_(threads) {
    const std::int64_t pixels = pass == ConvolutionPass::input ? s.b * s.y * s.x : s.outputs();
    const std::int64_t window = s.k * s.l * (pass == ConvolutionPass::input ? s.o : s.c);
    const std::int64_t channels = std::max(s.c, s.o);
    offsets_ = 2 * pixels + 2 * window + 2 * channels;
    const bool weight = pass == ConvolutionPass::weight;
    const std::int64_t m = weight ? window : pixels, k = weight ? pixels : window;
    const std::int64_t n = pass == ConvolutionPass::input ? s.c : s.o;
    scratch_ = round_up(gemm_scratch<T>(m, n, k), 16);
  }

  [[nodiscard]] Bytes size() const {
    return Bytes{image_bytes() + offset_bytes() + threads_ * scratch_ * kSize + kAlignment};
  }
  [[nodiscard]] const Bordered& images() const { return bordered_; }

  void place(std::span<std::byte> memory) {
    ALPA_CHECK(static_cast<std::int64_t>(memory.size()) >= size().value);
    std::byte* from = memory.data();
    const auto address = reinterpret_cast<std::uintptr_t>(from);
    from += (kAlignment - address % kAlignment) % kAlignment;
    border_ = reinterpret_cast<T*>(from);
    next_ = reinterpret_cast<std::int64_t*>(from + image_bytes());
    scratch_memory_ = reinterpret_cast<T*>(from + image_bytes() + offset_bytes());
  }
  [[nodiscard]] T* with_border() const { return border_; }
  [[nodiscard]] T* scratch(std::int64_t thread) const {
    return scratch_memory_ + thread * scratch_;
  }

  /// The next `count` offsets, f(i) each; valid until the next rewind().
  template <class F>
  const std::int64_t* offsets(std::int64_t count, const F& f) {
    std::int64_t* const begin = next_;
    for (std::int64_t i = 0; i < count; ++i) begin[i] = f(i);
    next_ += count;
    return begin;
  }
  [[nodiscard]] std::int64_t* mark() const { return next_; }
  void rewind(std::int64_t* mark) { next_ = mark; }

 private:
  static constexpr std::int64_t kAlignment = 64, kSize = sizeof(T);
  [[nodiscard]] std::int64_t image_bytes() const {
    return bordered_.has_border() ? round_up(bordered_.elements() * kSize, kAlignment) : 0;
  }
  [[nodiscard]] std::int64_t offset_bytes() const {
    return round_up(offsets_ * std::int64_t{sizeof(std::int64_t)}, kAlignment);
  }

  Bordered bordered_;
  std::int64_t threads_, offsets_ = 0, scratch_ = 0;
  T *border_ = nullptr, *scratch_memory_ = nullptr;
  std::int64_t* next_ = nullptr;
};

/// Copies images between zeros; the images themselves where there is no border.
template <class T>
const T* add_border(const T* images, const Bordered& to, T* with_border, int threads) {
  if (!to.has_border()) return images;
  const BorderedSide &rows = to.rows, &columns = to.columns;
  const std::int64_t row = columns.extent * to.channels;
  const std::int64_t kept = std::max<std::int64_t>(0, columns.kept()) * to.channels;
  parallel_for(threads, to.images * rows.extent, row_grain(row),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t r = begin; r < end; ++r) {
                   T* const target = with_border + r * row;
                   const std::int64_t y = r % rows.extent - rows.low;
                   if (y < 0 || y >= rows.kept()) {
                     std::fill(target, target + row, T(0));
                     continue;
                   }
                   const std::int64_t line = r / rows.extent * rows.pixels + rows.skip + y;
                   const T* from = images + (line * columns.pixels + columns.skip) * to.channels;
                   T* const first = target + columns.low * to.channels;
                   std::fill(target, first, T(0));
                   std::copy(from, from + kept, first);
                   std::fill(first + kept, target + row, T(0));
                 }
               });
  return with_border;
}

/// gemm() over threads, by rows or columns of the result, whichever are more.
template <class T>
void parallel_gemm(const Matrix<const T>& left, const Matrix<const T>& right,
                   const Matrix<T>& result, std::int64_t m, std::int64_t n, std::int64_t k,
                   const ConvolutionWorkspace<T>& workspace, int threads) {
  const bool rows = m >= n;
  const std::int64_t length = rows ? m : n;
  const std::int64_t tiles = length / std::int64_t{rows ? Tile<T>::kRows : Tile<T>::kColumns};
  const std::int64_t parts = std::clamp<std::int64_t>(tiles, 1, threads);
  parallel_for(threads, parts, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t part = first; part < last; ++part) {
      const std::int64_t begin = length * part / parts;
      const std::int64_t count = length * (part + 1) / parts - begin;
      const std::int64_t row = rows ? begin : 0, column = rows ? 0 : begin;
      gemm<T>(left.at(row, 0), right.at(0, column), result.at(row, column), rows ? count : m,
              rows ? n : count, k, T(1), workspace.scratch(part));
    }
  });
}

/// y [pixels, o] = x [pixels, window] weight [window, o], or dweight = x^T dy.
template <class T>
void multiply_windows(ConvolutionPass pass, const ConvolutionShape& s, const T* images,
                      const T* other, T* to, ConvolutionWorkspace<T>& workspace, int threads) {
  const Bordered& x = workspace.images();
  const T* data = add_border(images, x, workspace.with_border(), threads);
  const std::int64_t* pixels = workspace.offsets(s.outputs(), [&](std::int64_t i) {
    return x.at(i / (s.h * s.w), i / s.w % s.h * s.stride, i % s.w * s.stride);
  });
  const std::int64_t* window = workspace.offsets(s.window(), [&](std::int64_t i) {
    return x.at(0, i / (s.l * s.c), i / s.c % s.l) + i % s.c;
  });
  const std::int64_t* channels = workspace.offsets(s.o, [](std::int64_t i) { return i; });
  const auto rows_of = [&](std::int64_t count) {
    return workspace.offsets(count, [&](std::int64_t i) { return i * s.o; });
  };
  const std::int64_t *of_pixels = rows_of(s.outputs()), *of_window = rows_of(s.window());
  if (pass == ConvolutionPass::forward) {
    parallel_gemm<T>({data, pixels, window}, {other, of_window, channels},
                     {to, of_pixels, channels}, s.outputs(), s.o, s.window(), workspace, threads);
  } else {
    parallel_gemm<T>({data, window, pixels}, {other, of_pixels, channels},
                     {to, of_window, channels}, s.window(), s.o, s.outputs(), workspace, threads);
  }
}

/// Along one side of the images: the pixels that are `phase` modulo the stride and the places of
/// the window that reach them, with the output (counted without border) that pixel `phase` gets
/// from each.
struct Phase {
  std::int64_t first, stride, pixels;
  std::vector<std::int64_t> places, outputs;

  Phase(std::int64_t phase, std::int64_t extent, std::int64_t side, std::int64_t before,
        const ConvolutionShape& s)
      : first(phase), stride(s.stride), pixels((extent - phase + s.stride - 1) / s.stride) {
    for (std::int64_t place = 0; place < side; ++place) {
      const std::int64_t reach = phase + before - place;
      if (reach % s.stride != 0) continue;
      places.push_back(place);
      outputs.push_back(reach / s.stride);
    }
  }
};

/// dx of the pixels of one phase: each is a product with the places that reach them.
template <class T>
void input_of_phase(const ConvolutionShape& s, const Phase& rows, const Phase& columns, const T* dy,
                    const T* weight, T* dx, ConvolutionWorkspace<T>& workspace, int threads) {
  const Bordered& from = workspace.images();
  const std::int64_t m = s.b * rows.pixels * columns.pixels;
  const auto wide = static_cast<std::int64_t>(columns.places.size());
  const std::int64_t k = static_cast<std::int64_t>(rows.places.size()) * wide * s.o;
  const auto image = [&](std::int64_t i) { return i / (rows.pixels * columns.pixels); };
  const auto row = [&](std::int64_t i) { return i / columns.pixels % rows.pixels; };
  const auto column = [&](std::int64_t i) { return i % columns.pixels; };
  std::int64_t* const mark = workspace.mark();
  const std::int64_t* targets = workspace.offsets(m, [&](std::int64_t i) {
    const std::int64_t y = rows.first + row(i) * s.stride;
    return ((image(i) * s.y + y) * s.x + columns.first + column(i) * s.stride) * s.c;
  });
  if (k == 0) {
    for (std::int64_t i = 0; i < m; ++i) std::fill(dx + targets[i], dx + targets[i] + s.c, T(0));
    workspace.rewind(mark);
    return;
  }
  const std::int64_t* pixels =
      workspace.offsets(m, [&](std::int64_t i) { return from.at(image(i), row(i), column(i)); });
  const auto place = [&](const std::vector<std::int64_t>& list, std::int64_t i) {
    return list[static_cast<std::size_t>(i)];
  };
  const auto from_rows = [&](std::int64_t h) { return h + from.rows.low - from.rows.skip; };
  const auto from_columns = [&](std::int64_t w) {
    return w + from.columns.low - from.columns.skip;
  };
  const std::int64_t* window = workspace.offsets(k, [&](std::int64_t i) {
    const std::int64_t p = i / s.o / wide, q = i / s.o % wide;
    return from.at(0, from_rows(place(rows.outputs, p)), from_columns(place(columns.outputs, q))) +
           i % s.o;
  });
  const std::int64_t* of_window = workspace.offsets(k, [&](std::int64_t i) {
    const std::int64_t p = i / s.o / wide, q = i / s.o % wide;
    return (place(rows.places, p) * s.l + place(columns.places, q)) * s.c * s.o + i % s.o;
  });
  const std::int64_t* across = workspace.offsets(s.c, [&](std::int64_t i) { return i * s.o; });
  const std::int64_t* channels = workspace.offsets(s.c, [](std::int64_t i) { return i; });
  parallel_gemm<T>({dy, pixels, window}, {weight, of_window, across}, {dx, targets, channels}, m,
                   s.c, k, workspace, threads);
  workspace.rewind(mark);
}

template <class T>
void run_convolution(ConvolutionPass pass, const ConvolutionShape& s, const Launch& launch,
                     int threads) {
  if (s.b * s.c * s.o == 0) return;
  ConvolutionWorkspace<T> workspace(pass, s, threads);
  workspace.place(launch.workspace);
  const T *a = data_of<T>(launch.operands[0]), *b = data_of<T>(launch.operands[1]);
  T* to = mutable_data_of<T>(launch.results[0]);
  if (pass != ConvolutionPass::input) {
    multiply_windows(pass, s, a, b, to, workspace, threads);
    return;
  }
  const T* dy = add_border(a, workspace.images(), workspace.with_border(), threads);
  for (std::int64_t y = 0; y < std::min(s.stride, s.y); ++y) {
    const Phase rows(y, s.y, s.k, s.top, s);
    for (std::int64_t x = 0; x < std::min(s.stride, s.x); ++x) {
      input_of_phase(s, rows, Phase(x, s.x, s.l, s.left, s), dy, b, to, workspace, threads);
    }
  }
}

}  // namespace alpa::cpu
