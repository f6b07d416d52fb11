#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "common/letters.hpp"

namespace alpa::cpu {

/// Loops merged where every affine number allows it, with at least one loop.
///
/// Example: [b t e] + bias [e], elements of both contiguous: loops b and t become one, e stays.
struct Nest {
  Shape extents;
  std::vector<kernels::Affine> numbers;
  [[nodiscard]] std::int64_t size() const { return num_elements(extents); }
  [[nodiscard]] std::int64_t inner_stride(std::size_t number) const {
    return numbers[number].strides.back();
  }
};
[[nodiscard]] Nest collapse(const kernels::Loops& loops, std::span<const kernels::Affine> numbers);

inline constexpr std::size_t kMaxNumbers = 8;  ///< affine numbers of one nest

/// Calls f(values at the first iteration, n) for runs of n iterations of the innermost loop that
/// together cover iterations [begin, end) of the nest in row-major order; n <= `longest`.
template <class F>
void for_each_run(const Nest& nest, std::int64_t begin, std::int64_t end, std::int64_t longest,
                  const F& f) {
  const std::int64_t inner = nest.extents.back();
  std::array<std::int64_t, kMaxNumbers> at{};
  for (std::int64_t position = begin; position < end;) {
    const std::int64_t start = position % inner;
    const std::int64_t run = std::min({inner - start, end - position, longest});
    for (std::size_t i = 0; i < nest.numbers.size(); ++i) {
      at[i] = nest.numbers[i].base + start * nest.inner_stride(i);
    }
    std::int64_t rest = position / inner;
    for (std::size_t loop = nest.extents.size() - 1; loop-- > 0;) {
      const std::int64_t index = rest % nest.extents[loop];
      rest /= nest.extents[loop];
      for (std::size_t i = 0; i < nest.numbers.size(); ++i) {
        at[i] += index * nest.numbers[i].strides[loop];
      }
    }
    f(std::span<const std::int64_t>(at.data(), nest.numbers.size()), run);
    position += run;
  }
}

}  // namespace alpa::cpu
