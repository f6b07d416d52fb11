#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

void store_all(const Piece& result, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    store(result, static_cast<std::int64_t>(i), values[i]);
  }
}

std::size_t index(std::int64_t place) { return static_cast<std::size_t>(place); }

}  // namespace

void run(const Einsum& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  const Piece &left = launch.operands[0], &right = launch.operands[1], &result = launch.results[0];
  Letters sizes;
  sizes.add(kernel.left, left);
  sizes.add(kernel.right, right);
  sizes.add(kernel.result, result);

  const Dims summed = without(kernel.left, kernel.result);
  const Loops loops = loops_over(kernel.result + summed, sizes);
  const std::vector<Affine> places = {element_of(kernel.left, loops, sizes),
                                      element_of(kernel.right, loops, sizes),
                                      element_of(kernel.result, loops, sizes)};
  std::vector<double> sums(index(sizes.elements(kernel.result)), 0.0);
  for_each(loops, places,
           [&](auto at) { sums[index(at[2])] += load(left, at[0]) * load(right, at[1]); });
  for (double& sum : sums) sum *= kernel.scale;
  store_all(result, sums);
}

void run(const Reduce& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece& operand = launch.operands[0];
  Letters sizes;
  sizes.add(kernel.operand, operand);
  sizes.add(kernel.result, launch.results[0]);

  const Loops loops = loops_over(kernel.operand, sizes);
  const std::vector<Affine> places = {element_of(kernel.operand, loops, sizes),
                                      element_of(kernel.result, loops, sizes)};
  const bool sum = kernel.op == ReduceOp::sum;
  const double start = sum ? 0.0 : -std::numeric_limits<double>::infinity();
  std::vector<double> values(index(sizes.elements(kernel.result)), start);
  for_each(loops, places, [&](auto at) {
    const double x = load(operand, at[0]);
    const double term = kernel.square ? x * x : x;
    double& value = values[index(at[1])];
    value = sum ? value + term : std::max(value, term);
  });
  store_all(launch.results[0], values);
}

void run(const SumExp& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  const Piece &x = launch.operands[0], &maximum = launch.operands[1];
  Letters sizes;
  sizes.add(kernel.operand, x);
  sizes.add(kernel.result, maximum);
  sizes.add(kernel.result, launch.results[0]);

  const Loops loops = loops_over(kernel.operand, sizes);
  const std::vector<Affine> places = {element_of(kernel.operand, loops, sizes),
                                      element_of(kernel.result, loops, sizes)};
  std::vector<double> sums(index(sizes.elements(kernel.result)), 0.0);
  for_each(loops, places,
           [&](auto at) { sums[index(at[1])] += std::exp(load(x, at[0]) - load(maximum, at[1])); });
  store_all(launch.results[0], sums);
}

}  // namespace alpa::reference
