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
class NormLoops {
 public:
  NormLoops(const Dims& operand, const Dims& over, std::int64_t group, const Dims& parameters = "")
      : operand_(operand), over_(over), column_(parameters), group_(group) {
    row_ = without(operand, over);
    if (group > 1) ALPA_CHECK(!row_.empty() && row_.front() == operand.front());
  }
  explicit NormLoops(const NormAttributes& norm)
      : NormLoops(norm.operand, norm.over, norm.group, norm.parameters) {}

  void like_x(const Piece& piece) { sizes_.add(operand_, piece); }
  void like_column(const Piece& piece) { sizes_.add(column_, piece); }
  /// @pre a piece of x has been noted
  void like_row(const Piece& piece) {
    Piece samples = piece;
    if (group_ > 1) {
      samples.box.offset.at(0) *= group_;
      samples.box.extent.at(0) *= group_;
      samples.full.at(0) *= group_;
    }
    sizes_.add(row_, samples);
  }

  /// Values that share statistics.
  [[nodiscard]] std::int64_t n() const {
    std::int64_t count = group_;
    for (const char letter : over_) count *= sizes_.at(letter).full;
    return count;
  }
  [[nodiscard]] std::int64_t rows() const { return sizes_.elements(row_) / group_; }
  [[nodiscard]] std::int64_t columns() const { return sizes_.elements(column_); }

  /// f(place of x, place of its row, place of its column)
  template <class F>
  void run(const F& f) const {
    const Loops loops = loops_over(operand_, sizes_);
    std::vector<Affine> places = {element_of(operand_, loops, sizes_),
                                  element_of(row_, loops, sizes_),
                                  element_of(column_, loops, sizes_)};
    if (group_ == 1) {
      for_each(loops, places, [&](auto at) { f(at[0], at[1], at[2]); });
      return;
    }
    const std::int64_t inner = sizes_.elements(row_.substr(1));
    for_each(loops, places,
             [&](auto at) { f(at[0], at[1] / inner / group_ * inner + at[1] % inner, at[2]); });
  }

 private:
  Letters sizes_;
  Dims operand_, over_, row_, column_;
  std::int64_t group_;
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
  NormLoops loops(kernel.operand, kernel.over, kernel.group);
  loops.like_x(x);
  for (const Piece& result : launch.results) loops.like_row(result);

  auto sums = zeros(loops.rows());
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
  NormLoops loops(kernel.norm);
  loops.like_x(x);
  loops.like_row(sum);
  loops.like_row(square_sum);
  loops.like_column(scale);
  if (kernel.bias) loops.like_column(launch.operands[4]);
  loops.like_x(launch.results[0]);

  const std::int64_t n = loops.n();
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
  NormLoops loops(kernel.norm);
  loops.like_x(dy);
  loops.like_x(x);
  loops.like_row(sum);
  loops.like_row(square_sum);
  loops.like_column(scale);
  loops.like_row(launch.results[0]);
  loops.like_row(launch.results[1]);

  const std::int64_t n = loops.n();
  auto g_sums = zeros(loops.rows());
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
  NormLoops loops(kernel.norm);
  loops.like_x(dy);
  loops.like_x(x);
  for (const Piece* row : {&sum, &square_sum, &g_sum, &gx_sum}) loops.like_row(*row);
  loops.like_column(scale);
  loops.like_x(launch.results[0]);

  const std::int64_t size = loops.n();
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
  NormLoops loops(kernel.norm);
  loops.like_x(dy);
  loops.like_x(x);
  loops.like_row(sum);
  loops.like_row(square_sum);
  for (const Piece& result : launch.results) loops.like_column(result);

  const std::int64_t n = loops.n();
  auto scale_gradient = zeros(loops.columns());
  auto bias_gradient = scale_gradient;
  loops.run([&](std::int64_t i, std::int64_t row, std::int64_t column) {
    const Row moments = row_of(kernel.norm, load(sum, row), load(square_sum, row), n);
    at(scale_gradient, column) += load(dy, i) * moments.normalised(load(x, i));
    at(bias_gradient, column) += load(dy, i);
  });
  store_all(launch.results[0], scale_gradient);
  if (kernel.bias) store_all(launch.results[1], bias_gradient);
}

namespace {

/// Loops over the rows of statistics, with the places of row and column.
template <class F>
void for_each_row(const Dims& row, const Dims& parameters, const Letters& sizes, const F& f) {
  const Loops loops = loops_over(row, sizes);
  const std::vector<Affine> places = {element_of(row, loops, sizes),
                                      element_of(parameters, loops, sizes)};
  for_each(loops, places, [&](auto at) { f(at[0], at[1]); });
}

}  // namespace

void run(const NormStatistics& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 2);
  Letters sizes;
  for (const Piece& piece : launch.operands) sizes.add(kernel.row, piece);
  for (const Piece& piece : launch.results) sizes.add(kernel.parameters, piece);
  auto means = zeros(sizes.elements(kernel.parameters));
  auto variances = means;
  for_each_row(kernel.row, kernel.parameters, sizes, [&](std::int64_t row, std::int64_t column) {
    const double mean = load(launch.operands[0], row) / kernel.n;
    at(means, column) += kernel.factor * mean;
    at(variances, column) +=
        kernel.factor * (load(launch.operands[1], row) / kernel.n - mean * mean);
  });
  store_all(launch.results[0], means);
  store_all(launch.results[1], variances);
}

void run(const NormBlend& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 5 && launch.results.size() == 2);
  const auto& in = launch.operands;
  Letters sizes;
  for (const Piece* piece : {&in[0], &in[1], &launch.results[0], &launch.results[1]}) {
    sizes.add(kernel.row, *piece);
  }
  for (const Piece* piece : {&in[2], &in[3]}) sizes.add(kernel.parameters, *piece);
  const bool training = scalar(in[4]) != 0.0;
  for_each_row(kernel.row, kernel.parameters, sizes, [&](std::int64_t row, std::int64_t column) {
    const double mean = load(in[2], column), variance = load(in[3], column);
    store(launch.results[0], row, training ? load(in[0], row) : kernel.n * mean);
    store(launch.results[1], row,
          training ? load(in[1], row) : kernel.n * (variance + mean * mean));
  });
}

}  // namespace alpa::reference
