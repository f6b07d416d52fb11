#include <algorithm>
#include <cmath>
#include <vector>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

// Optimizers of several operators: statistics that reach over a whole tensor stand between them.
namespace alpa::reference {

using namespace kernels;

void run(const LambDirection& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 4 && launch.results.size() == 3);
  const Piece &gradient = launch.operands[0], &parameter = launch.operands[1];
  const Piece &first = launch.results[0], &second = launch.results[1];
  const Piece& direction = launch.results[2];
  Letters sizes;
  for (const Piece* piece : {&gradient, &parameter, &first, &second, &direction}) {
    sizes.add(kernel.operand, *piece);
  }
  const double step = scalar(launch.operands[2]), norm_squared = scalar(launch.operands[3]);
  const bool finite = std::isfinite(norm_squared);
  const double clip = clip_factor(kernel.clip_norm, norm_squared);
  for (std::int64_t i = 0; i < sizes.elements(kernel.operand); ++i) {
    if (!finite) {
      store(direction, i, 0.0);
      continue;
    }
    const double g = load(gradient, i) * clip;
    const double m = kernel.beta1 * load(first, i) + (1.0 - kernel.beta1) * g;
    const double v = kernel.beta2 * load(second, i) + (1.0 - kernel.beta2) * g * g;
    store(first, i, m);
    store(second, i, v);
    const double m_hat = m / (1.0 - std::pow(kernel.beta1, step));
    const double v_hat = v / (1.0 - std::pow(kernel.beta2, step));
    store(direction, i,
          m_hat / (std::sqrt(v_hat) + kernel.epsilon) + kernel.weight_decay * load(parameter, i));
  }
}

void run(const SecondMoment& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 3 && launch.results.size() == 2);
  const Piece& value = launch.operands[0];
  Letters sizes;
  sizes.add(kernel.operand, value);
  for (const Piece& result : launch.results) sizes.add(kernel.operand, result);
  const double step = scalar(launch.operands[1]), norm_squared = scalar(launch.operands[2]);
  const bool finite = std::isfinite(norm_squared);
  const double clip = clip_factor(kernel.clip_norm, norm_squared);
  const double rest = std::pow(step, -kernel.decay);  // 1 - b
  for (std::int64_t i = 0; i < sizes.elements(kernel.operand); ++i) {
    double s = load(launch.results[0], i);
    if (finite) {
      const double x = load(value, i);
      const double mean = clip * clip * (kernel.square ? x * x : x) / kernel.count;
      s = (1.0 - rest) * s + rest * (mean + kernel.epsilon);
      store(launch.results[0], i, s);
    }
    store(launch.results[1], i, s);
  }
}

void run(const FactoredDirection& kernel, const Launch& launch) {
  const bool factored = !kernel.columns.empty();
  ALPA_CHECK(launch.operands.size() == (factored ? 5U : 3U) && launch.results.size() == 1);
  const Piece &gradient = launch.operands[0], &rows = launch.operands[1];
  const Piece& direction = launch.results[0];
  Letters sizes;
  sizes.add(kernel.operand, gradient);
  sizes.add(kernel.operand, direction);
  sizes.add(kernel.rows, rows);
  if (factored) sizes.add(kernel.columns, launch.operands[2]);
  const double norm_squared = scalar(launch.operands.back());
  const bool finite = std::isfinite(norm_squared);
  const double clip = clip_factor(kernel.clip_norm, norm_squared);
  const double mean = factored ? scalar(launch.operands[3]) / kernel.count : 1.0;
  const Loops loops = loops_over(kernel.operand, sizes);
  const std::vector<Affine> places = {element_of(kernel.operand, loops, sizes),
                                      element_of(kernel.rows, loops, sizes),
                                      element_of(kernel.columns, loops, sizes)};
  for_each(loops, places, [&](auto at) {
    const double column = factored ? load(launch.operands[2], at[2]) : 1.0;
    const double second = load(rows, at[1]) * column / mean;
    store(direction, at[0], finite ? load(gradient, at[0]) * clip / std::sqrt(second) : 0.0);
  });
}

DirectionStep step_of(const ApplyDirection& kernel, const Launch& launch) {
  const double rate = kernel.learning_rate_factor * scalar(launch.operands[1]);
  const double length = std::sqrt(scalar(launch.operands[3]));
  const double parameter =
      kernel.reads_parameter_norm() ? std::sqrt(scalar(launch.operands[4])) : 0.0;
  if (kernel.size == ApplyDirection::Size::trust_ratio) {
    return {rate * (length > 0.0 && parameter > 0.0 ? parameter / length : 1.0), 0.0};
  }
  const double root = std::sqrt(kernel.count);
  const double share = kernel.relative ? std::max(kernel.epsilon, parameter / root) : 1.0;
  return {rate * share / std::max(1.0, length / root / kernel.threshold),
          rate * kernel.weight_decay};
}

void run(const ApplyDirection& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == (kernel.reads_parameter_norm() ? 5U : 4U));
  ALPA_CHECK(launch.results.size() == 1);
  const Piece &direction = launch.operands[0], &parameter = launch.results[0];
  Letters sizes;
  sizes.add(kernel.operand, direction);
  sizes.add(kernel.operand, parameter);
  if (!std::isfinite(scalar(launch.operands[2]))) return;
  const DirectionStep step = step_of(kernel, launch);
  for (std::int64_t i = 0; i < sizes.elements(kernel.operand); ++i) {
    const double p = load(parameter, i);
    store(parameter, i, p - step.along * load(direction, i) - step.decay * p);
  }
}

}  // namespace alpa::reference
