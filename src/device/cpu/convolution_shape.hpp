#pragma once

#include <algorithm>
#include <cstdint>

#include "common/letters.hpp"

namespace alpa::cpu {

enum class ConvolutionPass : std::uint8_t { forward, input, weight };

/// Sizes of pieces of x [b y x c], weight [k l c o] and y [b h w o]. Output (i, j) of the piece
/// sees the pixels (stride * i - top + k, stride * j - left + l) of the piece of x.
struct ConvolutionShape {
  std::int64_t b, y, x, c, h, w, o, k, l;
  std::int64_t stride, top, left;
  friend auto operator<=>(const ConvolutionShape&, const ConvolutionShape&) = default;

  [[nodiscard]] std::int64_t outputs() const { return b * h * w; }  ///< pixels
  [[nodiscard]] std::int64_t window() const { return k * l * c; }
};

/// Pixels that the first output of a piece sees before the first one of the piece of x.
inline std::int64_t seen_before(const Window& window, const Piece& x, const Piece& y,
                                std::size_t dimension) {
  return window.padding + x.box.offset[dimension] - window.stride * y.box.offset[dimension];
}

/// @pre pieces fit each other; windows are whole
inline ConvolutionShape convolution_shape(const Window& window, const Piece& x, const Piece& weight,
                                          const Piece& y) {
  kernels::Letters sizes;
  sizes.add("byxc", x);
  sizes.add("klco", weight);
  sizes.add("bhwo", y);
  const auto n = [&](char letter) { return sizes.extent(letter); };
  ALPA_CHECK(n('k') == sizes.at('k').full && n('l') == sizes.at('l').full);
  const auto places = [&](char image, char side) {
    return (sizes.at(image).full + 2 * window.padding - n(side)) / window.stride + 1;
  };
  ALPA_CHECK(places('y', 'k') == sizes.at('h').full && places('x', 'l') == sizes.at('w').full);
  return {n('b'),
          n('y'),
          n('x'),
          n('c'),
          n('h'),
          n('w'),
          n('o'),
          n('k'),
          n('l'),
          window.stride,
          seen_before(window, x, y, 1),
          seen_before(window, x, y, 2)};
}

inline ConvolutionPass pass_of(const Convolution& /*kernel*/) { return ConvolutionPass::forward; }
inline ConvolutionPass pass_of(const ConvolutionGradientInput& /*kernel*/) {
  return ConvolutionPass::input;
}
inline ConvolutionPass pass_of(const ConvolutionGradientWeight& /*kernel*/) {
  return ConvolutionPass::weight;
}

inline ConvolutionShape shape_of(const Convolution& kernel, const Launch& launch) {
  return convolution_shape(kernel.window, launch.operands[0], launch.operands[1],
                           launch.results[0]);
}
inline ConvolutionShape shape_of(const ConvolutionGradientInput& kernel, const Launch& launch) {
  return convolution_shape(kernel.window, launch.results[0], launch.operands[1],
                           launch.operands[0]);
}
inline ConvolutionShape shape_of(const ConvolutionGradientWeight& kernel, const Launch& launch) {
  return convolution_shape(kernel.window, launch.operands[0], launch.results[0],
                           launch.operands[1]);
}

}  // namespace alpa::cpu
