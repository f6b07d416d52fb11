#include <cmath>
#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

void run(const Rotary& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  ALPA_CHECK(kernel.operand.back() == 'd');
  const Piece &x = launch.operands[0], &y = launch.results[0];
  Letters sizes;
  sizes.add(kernel.operand, x);
  sizes.add(kernel.operand, y);
  const LetterSize& depth = sizes.at('d');
  ALPA_CHECK(depth.extent == depth.full && depth.full % 2 == 0);
  const std::int64_t half = depth.full / 2;

  const Dims rows = kernel.operand.substr(0, kernel.operand.size() - 1);
  const Loops loops = loops_over(rows, sizes);
  const std::vector<Affine> places = {element_of(rows, loops, sizes), index_of('t', loops, sizes)};
  for_each(loops, places, [&](auto at) {
    const std::int64_t row = at[0] * depth.full;
    for (std::int64_t i = 0; i < half; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(depth.full);
      const double angle = static_cast<double>(at[1]) * std::pow(kernel.base, exponent);
      const double c = std::cos(angle), s = std::sin(angle) * (kernel.inverse ? -1.0 : 1.0);
      const double first = load(x, row + i), second = load(x, row + half + i);
      store(y, row + i, c * first - s * second);
      store(y, row + half + i, c * second + s * first);
    }
  });
}

}  // namespace alpa::reference
