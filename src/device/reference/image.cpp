#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "alpa/base/error.hpp"

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

/// What a piece holds of one dimension.
struct Range {
  std::int64_t offset, extent, full;
};

/// Sizes of a window that moves over pieces of images x [b y x c] with outputs y [b h w ..].
struct Images {
  std::int64_t samples;
  Range height, width;      ///< of x
  Range rows, columns;      ///< of y
  std::int64_t tall, wide;  ///< sides of the window
  Window window;

  Images(const Piece& x, const Piece& y, const Window& moved, std::int64_t side_y,
         std::int64_t side_x)
      : samples(x.box.extent.at(0)),
        height(range(x, 1)),
        width(range(x, 2)),
        rows(range(y, 1)),
        columns(range(y, 2)),
        tall(side_y),
        wide(side_x),
        window(moved) {
    ALPA_CHECK(y.box.extent.at(0) == samples && y.box.offset.at(0) == x.box.offset.at(0));
    ALPA_CHECK((height.full + 2 * window.padding - tall) / window.stride + 1 == rows.full);
    ALPA_CHECK((width.full + 2 * window.padding - wide) / window.stride + 1 == columns.full);
  }

  /// f(pixel of y, pixel of x, place in the window) for every place that lies inside its image and
  /// inside the piece of x; pixels are counted over all samples of the pieces.
  template <class F>
  void for_each_place(const F& f) const {
    for (std::int64_t b = 0; b < samples; ++b) {
      for (std::int64_t h = 0; h < rows.extent; ++h) {
        for (std::int64_t w = 0; w < columns.extent; ++w) {
          for_each_held(h, w, [&](std::int64_t y, std::int64_t x, std::int64_t place) {
            f((b * rows.extent + h) * columns.extent + w,
              (b * height.extent + y) * width.extent + x, place);
          });
        }
      }
    }
  }

  /// f(row, column, place in the window) for what output (h, w) sees of the piece of x.
  template <class F>
  void for_each_held(std::int64_t h, std::int64_t w, const F& f) const {
    for (std::int64_t k = 0; k < tall; ++k) {
      const std::int64_t y = first(rows, h) + k - height.offset;
      if (y < 0 || y >= height.extent) continue;
      for (std::int64_t l = 0; l < wide; ++l) {
        const std::int64_t x = first(columns, w) + l - width.offset;
        if (x >= 0 && x < width.extent) f(y, x, k * wide + l);
      }
    }
  }

  /// Pixels of the whole image that output (h, w) sees.
  [[nodiscard]] std::int64_t pixels_seen(std::int64_t h, std::int64_t w) const {
    return inside(first(rows, h), tall, height.full) * inside(first(columns, w), wide, width.full);
  }

  /// Does the piece of x hold all that the outputs see?
  [[nodiscard]] bool holds_windows() const {
    return holds(rows, tall, height) && holds(columns, wide, width);
  }

 private:
  static Range range(const Piece& piece, std::size_t d) {
    return {piece.box.offset.at(d), piece.box.extent.at(d), piece.full.at(d)};
  }
  /// First row (or column) of the image that an output's window covers; it may lie outside.
  [[nodiscard]] std::int64_t first(const Range& outputs, std::int64_t i) const {
    return window.stride * (outputs.offset + i) - window.padding;
  }
  static std::int64_t inside(std::int64_t begin, std::int64_t side, std::int64_t full) {
    return std::min(begin + side, full) - std::max<std::int64_t>(begin, 0);
  }
  [[nodiscard]] bool holds(const Range& outputs, std::int64_t side, const Range& held) const {
    if (outputs.extent == 0) return true;
    const std::int64_t begin = std::max<std::int64_t>(first(outputs, 0), 0);
    const std::int64_t end = std::min(first(outputs, outputs.extent - 1) + side, held.full);
    return held.offset <= begin && end <= held.offset + held.extent;
  }
};

std::vector<double> zeros_like(const Piece& piece) {
  return std::vector<double>(static_cast<std::size_t>(num_elements(piece.box.extent)), 0.0);
}

void store_all(const Piece& piece, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    store(piece, static_cast<std::int64_t>(i), values[i]);
  }
}

/// One product over windows: x [b y x c], weight [k l c o], y [b h w o], of which one is the
/// result. f(place in x, place in weight, place in y) for every term of the sum.
/// @pre the pieces hold all that the result needs (of x, unless it is the result)
template <class F>
void for_each_term(const Window& window, const Piece& x, const Piece& weight, const Piece& y,
                   bool gradient_of_x, const F& f) {
  Letters sizes;
  sizes.add("byxc", x);
  sizes.add("klco", weight);
  sizes.add("bhwo", y);
  ALPA_CHECK(sizes.extent('k') == sizes.at('k').full && sizes.extent('l') == sizes.at('l').full);
  const Images images(x, y, window, sizes.extent('k'), sizes.extent('l'));
  ALPA_CHECK(gradient_of_x || images.holds_windows());
  const std::int64_t inputs = sizes.extent('c'), outputs = sizes.extent('o');
  images.for_each_place([&](std::int64_t to, std::int64_t from, std::int64_t place) {
    for (std::int64_t c = 0; c < inputs; ++c) {
      for (std::int64_t o = 0; o < outputs; ++o) {
        f(from * inputs + c, (place * inputs + c) * outputs + o, to * outputs + o);
      }
    }
  });
}

void check_product(const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
}

double& at(std::vector<double>& values, std::int64_t i) {
  return values[static_cast<std::size_t>(i)];
}

/// Sizes of pooling from x [b y x c] to y [b h w c].
Images pooled(const Window& window, const Piece& x, const Piece& y) {
  Letters sizes;
  sizes.add("byxc", x);
  sizes.add("bhwc", y);
  return {x, y, window, window.size, window.size};
}

}  // namespace

void run(const Convolution& kernel, const Launch& launch) {
  check_product(launch);
  const Piece &x = launch.operands[0], &weight = launch.operands[1], &y = launch.results[0];
  auto sums = zeros_like(y);
  for_each_term(kernel.window, x, weight, y, false,
                [&](std::int64_t i, std::int64_t j, std::int64_t k) {
                  at(sums, k) += load(x, i) * load(weight, j);
                });
  store_all(y, sums);
}

void run(const ConvolutionGradientInput& kernel, const Launch& launch) {
  check_product(launch);
  const Piece &dy = launch.operands[0], &weight = launch.operands[1], &dx = launch.results[0];
  auto sums = zeros_like(dx);
  for_each_term(kernel.window, dx, weight, dy, true,
                [&](std::int64_t i, std::int64_t j, std::int64_t k) {
                  at(sums, i) += load(dy, k) * load(weight, j);
                });
  store_all(dx, sums);
}

void run(const ConvolutionGradientWeight& kernel, const Launch& launch) {
  check_product(launch);
  const Piece &x = launch.operands[0], &dy = launch.operands[1], &dweight = launch.results[0];
  auto sums = zeros_like(dweight);
  for_each_term(kernel.window, x, dweight, dy, false,
                [&](std::int64_t i, std::int64_t j, std::int64_t k) {
                  at(sums, j) += load(x, i) * load(dy, k);
                });
  store_all(dweight, sums);
}

void run(const MaxPool& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 2);
  const Piece &x = launch.operands[0], &y = launch.results[0], &place = launch.results[1];
  const Images images = pooled(kernel.window, x, y);
  ALPA_CHECK(place.box == y.box && place.dtype == DType::i32 && images.holds_windows());
  const std::int64_t channels = x.box.extent.at(3);
  for (std::int64_t i = 0; i < num_elements(y.box.extent); ++i) {
    const std::int64_t c = i % channels, pixel = i / channels;
    const std::int64_t w = pixel % images.columns.extent;
    const std::int64_t h = pixel / images.columns.extent % images.rows.extent;
    const std::int64_t b = pixel / images.columns.extent / images.rows.extent;
    double best = -std::numeric_limits<double>::infinity();
    std::int64_t where = -1;
    images.for_each_held(h, w, [&](std::int64_t row, std::int64_t column, std::int64_t) {
      const std::int64_t held = (b * images.height.extent + row) * images.width.extent + column;
      const double value = load(x, held * channels + c);
      if (where >= 0 && !(value > best)) return;
      best = value;
      where = (row + images.height.offset) * images.width.full + column + images.width.offset;
    });
    store(y, i, best);
    store(place, i, static_cast<double>(where));
  }
}

void run(const MaxPoolGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  const Piece &dy = launch.operands[0], &place = launch.operands[1], &dx = launch.results[0];
  const Images images = pooled(kernel.window, dx, dy);
  ALPA_CHECK(place.box == dy.box);
  const std::int32_t* where = integers(place);
  const std::int64_t channels = dx.box.extent.at(3);
  const std::int64_t outputs = images.rows.extent * images.columns.extent * channels;
  auto sums = zeros_like(dx);
  for (std::int64_t i = 0; i < num_elements(dy.box.extent); ++i) {
    const std::int64_t row = where[i] / images.width.full - images.height.offset;
    const std::int64_t column = where[i] % images.width.full - images.width.offset;
    if (row < 0 || row >= images.height.extent) continue;
    if (column < 0 || column >= images.width.extent) continue;
    const std::int64_t pixel =
        (i / outputs * images.height.extent + row) * images.width.extent + column;
    at(sums, pixel * channels + i % channels) += load(dy, i);
  }
  store_all(dx, sums);
}

namespace {

/// How many pixels of the image each output of average pooling sees.
std::vector<double> pixels_seen(const Images& images) {
  std::vector<double> counts;
  for (std::int64_t b = 0; b < images.samples; ++b) {
    for (std::int64_t h = 0; h < images.rows.extent; ++h) {
      for (std::int64_t w = 0; w < images.columns.extent; ++w) {
        counts.push_back(static_cast<double>(images.pixels_seen(h, w)));
      }
    }
  }
  return counts;
}

}  // namespace

void run(const AveragePool& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece &x = launch.operands[0], &y = launch.results[0];
  const Images images = pooled(kernel.window, x, y);
  ALPA_CHECK(images.holds_windows());
  const std::int64_t channels = x.box.extent.at(3);
  auto counts = pixels_seen(images);
  auto sums = zeros_like(y);
  images.for_each_place([&](std::int64_t to, std::int64_t from, std::int64_t) {
    for (std::int64_t c = 0; c < channels; ++c) {
      at(sums, to * channels + c) += load(x, from * channels + c) / at(counts, to);
    }
  });
  store_all(y, sums);
}

void run(const AveragePoolGradient& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece &dy = launch.operands[0], &dx = launch.results[0];
  const Images images = pooled(kernel.window, dx, dy);
  const std::int64_t channels = dx.box.extent.at(3);
  auto counts = pixels_seen(images);
  auto sums = zeros_like(dx);
  images.for_each_place([&](std::int64_t to, std::int64_t from, std::int64_t) {
    for (std::int64_t c = 0; c < channels; ++c) {
      at(sums, from * channels + c) += load(dy, to * channels + c) / at(counts, to);
    }
  });
  store_all(dx, sums);
}

}  // namespace alpa::reference
