#include <cmath>
#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

namespace {

/// What a normalisation knows of one row: x^ = (x - mean) * rstd.
struct Row {
  double mean, rstd;
  [[nodiscard]] double normalised(double x) const { return (x - mean) * rstd; }
};

Row row_of(const NormAttributes& norm, double sum, double square_sum, std::int64_t size) {
  const auto n = static_cast<double>(size);
  const double mean = norm.rms ? 0.0 : sum / n;
  return {mean, 1.0 / std::sqrt(square_sum / n - mean * mean + norm.epsilon)};
}

/// Loops over x of one normalisation, with the places of x, of its row and of its column.
struct NormLoops {
  Letters sizes;
  Dims row, column;

  NormLoops(const Dims& operand, char letter)
      : row(without(operand, letter)), column(1, letter), operand_(operand) {}

  /// f(place of x, place of its row, place of its column)
  template <class F>
  void run(const F& f) const {
    const Loops loops = loops_over(operand_, sizes);
    const std::vector<Affine> places = {element_of(operand_, loops, sizes),
                                        element_of(row, loops, sizes),
                                        element_of(column, loops, sizes)};
    for_each(loops, places, [&](auto at) { f(at[0], at[1], at[2]); });
  }

 private:
  Dims operand_;
};

std::vector<double> zeros(std::int64_t count) {
  return std::vector<double>(static_cast<std::size_t>(count), 0.0);
}

double& at(std::vector<double>& values, std::int64_t i) {
  return values[static_cast<std::size_t>(i)];
}

void store_all(const Piece& result, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    store(result, static_cast<std::int64_t>(i), values[i]);
  }
}

}  // namespace

void run(const NormMoments& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 2);
  const Piece& x = launch.operands[0];
  NormLoops loops(kernel.operand, kernel.letter);
  loops.sizes.add(kernel.operand, x);
  loops.sizes.add(loops.row, launch.results[0]);
  loops.sizes.add(loops.row, launch.results[1]);

  auto sums = zeros(loops.sizes.elements(loops.row));
  auto square_sums = sums;
  loops.run([&](std::int64_t i, std::int64_t row, std::int64_t) {
    const double value = load(x, i);
    at(sums, row) += value;
    at(square_sums, row) += value * value;
  });
  store_all(launch.results[0], sums);
  store_all(launch.results[1], square_sums);
}

void run(const NormApply& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == (kernel.bias ? 5U : 4U) && launch.results.size() == 1);
  const Piece &x = launch.operands[0], &sum = launch.operands[1], &square_sum = launch.operands[2];
  const Piece& scale = launch.operands[3];
  NormLoops loops(kernel.norm.operand, kernel.norm.letter);
  loops.sizes.add(kernel.norm.operand, x);
  loops.sizes.add(loops.row, sum);
  loops.sizes.add(loops.row, square_sum);
  loops.sizes.add(loops.column, scale);
  if (kernel.bias) loops.sizes.add(loops.column, launch.operands[4]);
  loops.sizes.add(kernel.norm.operand, launch.results[0]);

  const std::int64_t n = loops.sizes.at(kernel.norm.letter).full;
  loops.run([&](std::int64_t i, std::int64_t row, std::int64_t column) {
    const Row moments = row_of(kernel.norm, load(sum, row), load(square_sum, row), n);
    const double bias = kernel.bias ? load(launch.operands[4], column) : 0.0;
    store(launch.results[0], i, moments.normalised(load(x, i)) * load(scale, column) + bias);
  });
}

void run(const NormGradientMoments& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 5 && launch.results.size() == 2);
  const Piece &dy = launch.operands[0], &x = launch.operands[1], &sum = launch.operands[2];
  const Piece &square_sum = launch.operands[3], &scale = launch.operands[4];
  NormLoops loops(kernel.norm.operand, kernel.norm.letter);
  loops.sizes.add(kernel.norm.operand, dy);
  loops.sizes.add(kernel.norm.operand, x);
  loops.sizes.add(loops.row, sum);
  loops.sizes.add(loops.row, square_sum);
  loops.sizes.add(loops.column, scale);
  loops.sizes.add(loops.row, launch.results[0]);
  loops.sizes.add(loops.row, launch.results[1]);

  const std::int64_t n = loops.sizes.at(kernel.norm.letter).full;
  auto g_sums = zeros(loops.sizes.elements(loops.row));
  auto gx_sums = g_sums;
  loops.run([&](std::int64_t i, std::int64_t row, std::int64_t column) {
    const Row moments = row_of(kernel.norm, load(sum, row), load(square_sum, row), n);
    const double g = load(dy, i) * load(scale, column);
    at(g_sums, row) += g;
    at(gx_sums, row) += g * moments.normalised(load(x, i));
  });
  store_all(launch.results[0], g_sums);
  store_all(launch.results[1], gx_sums);
}

void run(const NormGradientInput& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 7 && launch.results.size() == 1);
  const Piece &dy = launch.operands[0], &x = launch.operands[1], &sum = launch.operands[2];
  const Piece &square_sum = launch.operands[3], &scale = launch.operands[4];
  const Piece &g_sum = launch.operands[5], &gx_sum = launch.operands[6];
  NormLoops loops(kernel.norm.operand, kernel.norm.letter);
  loops.sizes.add(kernel.norm.operand, dy);
  loops.sizes.add(kernel.norm.operand, x);
  for (const Piece* row : {&sum, &square_sum, &g_sum, &gx_sum}) loops.sizes.add(loops.row, *row);
  loops.sizes.add(loops.column, scale);
  loops.sizes.add(kernel.norm.operand, launch.results[0]);

  const std::int64_t size = loops.sizes.at(kernel.norm.letter).full;
  const auto n = static_cast<double>(size);
  loops.run([&](std::int64_t i, std::int64_t row, std::int64_t column) {
    const Row moments = row_of(kernel.norm, load(sum, row), load(square_sum, row), size);
    const double g = load(dy, i) * load(scale, column);
    const double g_mean = kernel.norm.rms ? 0.0 : load(g_sum, row) / n;
    const double gx_mean = load(gx_sum, row) / n;
    store(launch.results[0], i,
          moments.rstd * (g - g_mean - moments.normalised(load(x, i)) * gx_mean));
  });
}

void run(const NormGradientParameters& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 4 && launch.results.size() == (kernel.bias ? 2U : 1U));
  const Piece &dy = launch.operands[0], &x = launch.operands[1], &sum = launch.operands[2];
  const Piece& square_sum = launch.operands[3];
  NormLoops loops(kernel.norm.operand, kernel.norm.letter);
  loops.sizes.add(kernel.norm.operand, dy);
  loops.sizes.add(kernel.norm.operand, x);
  loops.sizes.add(loops.row, sum);
  loops.sizes.add(loops.row, square_sum);
  for (const Piece& result : launch.results) loops.sizes.add(loops.column, result);

  const std::int64_t n = loops.sizes.at(kernel.norm.letter).full;
  auto scale_gradient = zeros(loops.sizes.elements(loops.column));
  auto bias_gradient = scale_gradient;
  loops.run([&](std::int64_t i, std::int64_t row, std::int64_t column) {
    const Row moments = row_of(kernel.norm, load(sum, row), load(square_sum, row), n);
    at(scale_gradient, column) += load(dy, i) * moments.normalised(load(x, i));
    at(bias_gradient, column) += load(dy, i);
  });
  store_all(launch.results[0], scale_gradient);
  if (kernel.bias) store_all(launch.results[1], bias_gradient);
}

}  // namespace alpa::reference
