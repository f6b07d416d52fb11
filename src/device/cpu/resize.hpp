#pragma once

#include <algorithm>

#include "cpu/rows.hpp"

/// Images enlarged pixel by pixel, channels last.
namespace alpa::cpu {

/// Rows of the small image, over all samples, and what lies around them.
struct Enlargement {
  std::int64_t rows, width, channels, factor;
};

inline Enlargement enlargement_of(const Piece& small, const Piece& large, std::int64_t factor) {
  const Shape &s = small.box.extent, &l = large.box.extent;
  ALPA_CHECK(s[0] == l[0] && s[3] == l[3] && l[1] == factor * s[1] && l[2] == factor * s[2]);
  return {s[0] * s[1], s[2], s[3], factor};
}

template <class T>
void run_upsample(const Upsample& kernel, const Launch& launch, int threads) {
  const Enlargement e = enlargement_of(launch.operands[0], launch.results[0], kernel.factor);
  const T* x = data_of<T>(launch.operands[0]);
  T* y = mutable_data_of<T>(launch.results[0]);
  const std::int64_t small = e.width * e.channels, large = e.factor * small;
  parallel_for(threads, e.rows, row_grain(large), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      T* first = y + row * e.factor * large;
      for (std::int64_t w = 0; w < e.factor * e.width; ++w) {
        const T* pixel = x + row * small + w / e.factor * e.channels;
        std::copy(pixel, pixel + e.channels, first + w * e.channels);
      }
      for (std::int64_t i = 1; i < e.factor; ++i)
        std::copy(first, first + large, first + i * large);
    }
  });
}

template <class T>
void run_upsample_gradient(const UpsampleGradient& kernel, const Launch& launch, int threads) {
  const Enlargement e = enlargement_of(launch.results[0], launch.operands[0], kernel.factor);
  const T* dy = data_of<T>(launch.operands[0]);
  T* dx = mutable_data_of<T>(launch.results[0]);
  const std::int64_t small = e.width * e.channels, large = e.factor * small;
  parallel_for(threads, e.rows, row_grain(large), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      T* sums = dx + row * small;
      std::fill(sums, sums + small, T(0));
      for (std::int64_t i = 0; i < e.factor; ++i) {
        const T* from = dy + (row * e.factor + i) * large;
        for (std::int64_t w = 0; w < e.factor * e.width; ++w) {
          T* to = sums + w / e.factor * e.channels;
          for (std::int64_t c = 0; c < e.channels; ++c) to[c] += from[w * e.channels + c];
        }
      }
    }
  });
}

}  // namespace alpa::cpu
