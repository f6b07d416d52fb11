#include "reduce.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "alpa/base/error.hpp"

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
    case DType::f16:
      break;
  }
  check_failed("reducible dtype", SourceLine::here());
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
