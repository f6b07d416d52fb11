#pragma once

#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "common/element.hpp"
#include "cpu/convert.hpp"
#include "cpu/exponential.hpp"
#include "cpu/nest.hpp"
#include "cpu/threads.hpp"

/// Elementwise kernels: the nest is cut into runs; operands that are not dense runs of T are
/// brought into one first, so that every operation is one loop over dense arrays, which the
/// compiler vectorises. Results may lie exactly on an operand.
namespace alpa::cpu {

inline constexpr std::int64_t kRun = 512;  ///< elements at once: operands of a run stay in L1

/// out[i] = f(i), for i in [0, n). Elements do not depend on each other, even where out is an
/// operand.
template <class T, class F>
void fill_run(T* out, std::int64_t n, const F& f) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) out[i] = f(i);
}

template <class T>
[[gnu::always_inline]] inline T normal_cdf(T x) {
  return T(0.5) + T(0.5) * std::erf(x * T(0.70710678118654752440));
}
template <>
inline double normal_cdf(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}

template <class T>
[[gnu::always_inline]] inline T sigmoid(T x) {
  return T(1) / (T(1) + exponential(-x));
}

/// tanh; in fp32 by one exponential, to 1e-7 absolute, which is what 1 + tanh(x) keeps of it.
template <class T>
[[gnu::always_inline]] inline T hyperbolic_tangent(T x) {
  return T(1) - T(2) / (exponential(T(2) * x) + T(1));
}
template <>
[[gnu::always_inline]] inline double hyperbolic_tangent(double x) {
  return std::tanh(x);
}

/// tanh of the inner polynomial of gelu_tanh
template <class T>
[[gnu::always_inline]] inline T gelu_inner(T x) {
  constexpr T kSlope = T(0.79788456080286535588), kCubic = T(0.044715);
  return hyperbolic_tangent(kSlope * (x + kCubic * x * x * x));
}

template <class T>
[[gnu::always_inline]] inline T gelu_tanh_gradient(T x) {
  constexpr T kSlope = T(0.79788456080286535588), kCubic = T(3 * 0.044715);
  const T t = gelu_inner(x);
  return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * kSlope * (T(1) + kCubic * x * x);
}

template <class T>
[[gnu::always_inline]] inline T gelu_gradient(T x) {
  constexpr T kDensity = T(0.39894228040143267794);  // 1 / sqrt(2 pi)
  return normal_cdf(x) + x * kDensity * exponential(T(-0.5) * x * x);
}

template <class T>
[[gnu::always_inline]] inline T silu_gradient(T x) {
  const T s = sigmoid(x);
  return s * (T(1) + x * (T(1) - s));
}

template <class T>
T tanh_gradient(T x) {
  const T t = std::tanh(x);
  return T(1) - t * t;
}

/// One run of an operation; x[i] are dense runs of the operands.
template <class T>
void map_run(MapOp op, T constant, std::span<const T* const> x, T* out, std::int64_t n) {
  const auto unary = [&](const auto& f) {
    const T* a = x[0];
    fill_run(out, n, [&](std::int64_t i) { return f(a[i]); });
  };
  const auto binary = [&](const auto& f) {
    const T *a = x[0], *b = x[1];
    fill_run(out, n, [&](std::int64_t i) { return f(a[i], b[i]); });
  };
  const auto ternary = [&](const auto& f) {
    const T *a = x[0], *b = x[1], *c = x[2];
    fill_run(out, n, [&](std::int64_t i) { return f(a[i], b[i], c[i]); });
  };
  const auto error = [&](const auto& f) {
    const T *y = x[0], *t = x[1], *w = x[2], *iw = x[3];
    fill_run(out, n, [&](std::int64_t i) { return constant * w[i] * iw[i] * f(y[i] - t[i]); });
  };
  switch (op) {
    case MapOp::copy:
      return unary([](T a) { return a; });
    case MapOp::add: {
      if (x.size() == 1) return unary([](T a) { return a; });
      std::array<T, kRun> sum;
      const T *a = x[0], *b = x[1];
      if (x.size() == 2) return binary([](T c, T d) { return c + d; });
      fill_run(sum.data(), n, [&](std::int64_t i) { return a[i] + b[i]; });
      for (const T* term : x.subspan(2)) {
        fill_run(sum.data(), n,
                 [&](std::int64_t i) { return sum[static_cast<std::size_t>(i)] + term[i]; });
      }
      return fill_run(out, n, [&](std::int64_t i) { return sum[static_cast<std::size_t>(i)]; });
    }
    case MapOp::add_scaled:
      return binary([&](T a, T b) { return a + constant * b; });
    case MapOp::subtract:
      return binary([](T a, T b) { return a - b; });
    case MapOp::multiply:
      return binary([](T a, T b) { return a * b; });
    case MapOp::scale:
      return unary([&](T a) { return constant * a; });
    case MapOp::relu:
      return unary([](T a) { return a > T(0) ? a : T(0); });
    case MapOp::relu_gradient:
      return binary([](T a, T dy) { return a > T(0) ? dy : T(0); });
    case MapOp::gelu:
      return unary([](T a) { return a * normal_cdf(a); });
    case MapOp::gelu_gradient:
      return binary([](T a, T dy) { return gelu_gradient(a) * dy; });
    case MapOp::gelu_tanh:
      return unary([](T a) { return T(0.5) * a * (T(1) + gelu_inner(a)); });
    case MapOp::gelu_tanh_gradient:
      return binary([](T a, T dy) { return gelu_tanh_gradient(a) * dy; });
    case MapOp::silu:
      return unary([](T a) { return a * sigmoid(a); });
    case MapOp::silu_gradient:
      return binary([](T a, T dy) { return silu_gradient(a) * dy; });
    case MapOp::tanh:
      return unary([](T a) { return std::tanh(a); });
    case MapOp::tanh_gradient:
      return binary([](T a, T dy) { return tanh_gradient(a) * dy; });
    case MapOp::softmax:
      return ternary([](T a, T max, T sum) { return exponential(a - max) / sum; });
    case MapOp::softmax_gradient:
      return ternary([](T y, T dy, T dot) { return y * (dy - dot); });
    case MapOp::cross_entropy: {
      const T *max = x[0], *sum = x[1], *picked = x[2], *w = x[3], *iw = x[4];
      return fill_run(out, n, [&](std::int64_t i) {
        return w[i] * iw[i] * (std::log(sum[i]) + max[i] - picked[i]);
      });
    }
    case MapOp::squared_error:
      return error([](T d) { return d * d; });
    case MapOp::squared_error_gradient:
      return error([](T d) { return T(2) * d; });
    case MapOp::hit:
      return ternary([](T max, T picked, T w) { return picked >= max ? w : T(0); });
  }
}

template <class T>
inline constexpr DType kDTypeOf = sizeof(T) == sizeof(double) ? DType::f64 : DType::f32;

/// One operand's runs as dense arrays of T.
template <class T>
class RunReader {
 public:
  RunReader(const Piece& piece, std::int64_t stride)
      : piece_(&piece), stride_(stride), direct_(piece.dtype == kDTypeOf<T> && stride == 1) {}

  /// Elements at `place`, place + stride, ..., n of them, n <= kRun; valid until the next call.
  const T* read(std::int64_t place, std::int64_t n) {
    if (direct_) return reinterpret_cast<const T*>(piece_->data) + place;
    if (stride_ == 0 && place == held_place_ && n <= held_) return buffer_.data();
    held_place_ = place;
    held_ = n;
    if (stride_ == 0) {
      const T value = static_cast<T>(kernels::load(*piece_, place));
      std::fill_n(buffer_.data(), n, value);
    } else if (piece_->dtype == kDTypeOf<T>) {
      const T* from = reinterpret_cast<const T*>(piece_->data) + place;
      for (std::int64_t i = 0; i < n; ++i) buffer_[index(i)] = from[i * stride_];
    } else if (piece_->dtype == DType::f32) {
      const float* from = reinterpret_cast<const float*>(piece_->data) + place;
      for (std::int64_t i = 0; i < n; ++i) buffer_[index(i)] = static_cast<T>(from[i * stride_]);
    } else if (is_low(piece_->dtype)) {
      widen(piece_->dtype, piece_->data + place * size_of(piece_->dtype), stride_, buffer_.data(),
            n);
    } else {
      for (std::int64_t i = 0; i < n; ++i) {
        buffer_[index(i)] = static_cast<T>(kernels::load(*piece_, place + i * stride_));
      }
    }
    return buffer_.data();
  }

 private:
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

  const Piece* piece_;
  std::int64_t stride_;
  bool direct_;
  std::int64_t held_place_ = -1, held_ = 0;  // of a broadcast operand
  std::array<T, kRun> buffer_;
};

/// Runs an operation over a nest whose last number is the place in the result.
template <class T>
void map_nest(MapOp op, T constant, const Nest& nest, std::span<const Piece> operands,
              const Piece& result, int threads) {
  const std::size_t count = operands.size();
  const bool direct = result.dtype == kDTypeOf<T> && nest.inner_stride(count) == 1;
  parallel_for(threads, nest.size(), 8 * kRun, [&](std::int64_t begin, std::int64_t end) {
    std::vector<RunReader<T>> readers;
    for (std::size_t i = 0; i < count; ++i) readers.emplace_back(operands[i], nest.inner_stride(i));
    std::vector<const T*> x(count);
    std::array<T, kRun> buffer;
    for_each_run(nest, begin, end, kRun, [&](std::span<const std::int64_t> at, std::int64_t n) {
      for (std::size_t i = 0; i < count; ++i) x[i] = readers[i].read(at[i], n);
      T* out = direct ? reinterpret_cast<T*>(result.data) + at[count] : buffer.data();
      map_run<T>(op, constant, x, out, n);
      if (is_low(result.dtype)) {
        return narrow(result.dtype, out, result.data + at[count] * size_of(result.dtype),
                      nest.inner_stride(count), n);
      }
      for (std::int64_t i = 0; !direct && i < n; ++i) {
        kernels::store(result, at[count] + i * nest.inner_stride(count),
                       static_cast<double>(out[i]));
      }
    });
  });
}

/// @pre no more than kMaxNumbers - 1 operands
template <class T>
void run_map(const Map& kernel, const Launch& launch, int threads) {
  kernels::Letters sizes;
  sizes.add(kernel.result, launch.results[0]);
  for (std::size_t i = 0; i < kernel.operands.size(); ++i) {
    sizes.add(kernel.operands[i], launch.operands[i]);
  }
  const kernels::Loops loops = kernels::loops_over(kernel.result, sizes);
  std::vector<kernels::Affine> places;
  for (const Dims& dims : kernel.operands) {
    places.push_back(kernels::element_of(dims, loops, sizes));
  }
  places.push_back(kernels::element_of(kernel.result, loops, sizes));
  map_nest<T>(kernel.op, static_cast<T>(kernel.constant), collapse(loops, places), launch.operands,
              launch.results[0], threads);
}

}  // namespace alpa::cpu
