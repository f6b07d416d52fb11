#include "reduce.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "alpa/base/error.hpp"
#include "alpa/base/low_precision.hpp"

namespace alpa {
namespace {

constexpr std::size_t kBlock = 512;  // elements; a constant trip count lets -O2 vectorise the loop

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return a + b;
  }
  // Wraps instead of overflowing.
  std::int32_t operator()(std::int32_t a, std::int32_t b) const {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
  }
};

/// A NaN in either argument is kept: a lost NaN would hide a diverged loss.
struct Max {
  template <class T>
  T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};

/// Numbers of 16 bits are added up in f32 and rounded once.
struct Bf16 {
  static float load(std::uint16_t bits) { return from_bf16(bits); }
  static std::uint16_t store(float value) { return to_bf16(value); }
};
struct F16 {
  static float load(std::uint16_t bits) { return from_f16(bits); }
  static std::uint16_t store(float value) { return to_f16(value); }
};

template <class Format, class Op>
void reduce_low(std::span<const std::byte* const> inputs, std::span<std::byte> result, Op op) {
  std::array<float, kBlock> sum{};
  std::array<std::uint16_t, kBlock> next{};
  const std::size_t block_bytes = sizeof(std::uint16_t) * kBlock;
  for (std::size_t begin = 0; begin < result.size(); begin += block_bytes) {
    const std::size_t bytes = std::min(block_bytes, result.size() - begin);
    std::memcpy(next.data(), inputs[0] + begin, bytes);
    for (std::size_t i = 0; i < kBlock; ++i) sum[i] = Format::load(next[i]);
    for (const std::byte* input : inputs.subspan(1)) {
      std::memcpy(next.data(), input + begin, bytes);
      for (std::size_t i = 0; i < kBlock; ++i) sum[i] = op(sum[i], Format::load(next[i]));
    }
    for (std::size_t i = 0; i < kBlock; ++i) next[i] = Format::store(sum[i]);
    std::memcpy(result.data() + begin, next.data(), bytes);
  }
}

template <class T, class Op>
void reduce(std::span<const std::byte* const> inputs, std::span<std::byte> result, Op op) {
  std::array<T, kBlock> sum{};
  std::array<T, kBlock> next{};
  const std::size_t block_bytes = sizeof(T) * kBlock;
  for (std::size_t begin = 0; begin < result.size(); begin += block_bytes) {
    const std::size_t bytes = std::min(block_bytes, result.size() - begin);
    std::memcpy(sum.data(), inputs[0] + begin, bytes);
    for (const std::byte* input : inputs.subspan(1)) {
      std::memcpy(next.data(), input + begin, bytes);
      for (std::size_t i = 0; i < kBlock; ++i) sum[i] = op(sum[i], next[i]);
    }
    std::memcpy(result.data() + begin, sum.data(), bytes);
  }
}

template <class Op>
void reduce_as(DType dtype, std::span<const std::byte* const> inputs, std::span<std::byte> result,
               Op op) {
  switch (dtype) {
    case DType::f64:
      return reduce<double>(inputs, result, op);
    case DType::f32:
      return reduce<float>(inputs, result, op);
    case DType::i32:
      return reduce<std::int32_t>(inputs, result, op);
    case DType::bf16:
      return reduce_low<Bf16>(inputs, result, op);
    case DType::f16:
      return reduce_low<F16>(inputs, result, op);
  }
  check_failed("known dtype", SourceLine::here());
}

}  // namespace

void reduce_in_order(std::span<const std::byte* const> inputs, std::span<std::byte> result,
                     DType dtype, Reduction op) {
  switch (op) {
    case Reduction::sum:
      return reduce_as(dtype, inputs, result, Add{});
    case Reduction::max:
      return reduce_as(dtype, inputs, result, Max{});
  }
}

}  // namespace alpa
