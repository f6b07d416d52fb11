#include "cpu/nest.hpp"

#include "alpa/base/error.hpp"

namespace alpa::cpu {

namespace {

bool merges(const Nest& nest, const kernels::Loops& loops, std::size_t outer,
            std::span<const kernels::Affine> numbers) {
  if (nest.extents.empty()) return false;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::int64_t inner_span = nest.numbers[i].strides.front() * nest.extents.front();
    if (numbers[i].strides[outer] != inner_span) return false;
  }
  return loops.extents[outer] > 0;
}

}  // namespace

Nest collapse(const kernels::Loops& loops, std::span<const kernels::Affine> numbers) {
  ALPA_CHECK(numbers.size() <= kMaxNumbers);
  Nest nest;
  for (const kernels::Affine& number : numbers) nest.numbers.push_back({number.base, {}});
  for (std::size_t loop = loops.extents.size(); loop-- > 0;) {
    const std::int64_t extent = loops.extents[loop];
    if (extent == 1) continue;
    if (merges(nest, loops, loop, numbers)) {
      nest.extents.front() *= extent;
      continue;
    }
    nest.extents.insert(nest.extents.begin(), extent);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      auto& strides = nest.numbers[i].strides;
      strides.insert(strides.begin(), numbers[i].strides[loop]);
    }
  }
  if (nest.extents.empty()) {
    nest.extents = {1};
    for (kernels::Affine& number : nest.numbers) number.strides = {1};
  }
  return nest;
}

}  // namespace alpa::cpu
