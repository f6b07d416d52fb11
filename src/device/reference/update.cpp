#include <algorithm>
#include <cmath>

#include "common/element.hpp"
#include "common/letters.hpp"
#include "reference/kernels.hpp"

namespace alpa::reference {

using namespace kernels;

std::size_t result_count(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::sgd:
      return 1;
    case OptimizerKind::momentum:
      return 2;
    case OptimizerKind::adam:
    case OptimizerKind::adamw:
      return 3;
    case OptimizerKind::adafactor:
    case OptimizerKind::lamb:
      break;
  }
  check_failed("an optimizer of one operator", SourceLine::here());
}

double clip_factor(double clip_norm, double norm_squared) {
  const bool clips = clip_norm > 0.0 && norm_squared > 0.0;
  return clips ? std::min(1.0, clip_norm / std::sqrt(norm_squared)) : 1.0;
}

void run(const Accumulate& kernel, const Launch& launch) {
  const std::size_t count = launch.operands.size();
  ALPA_CHECK((count == 1 || count == 2) && launch.results.size() == 1);
  const Piece &operand = launch.operands[0], &result = launch.results[0];
  const double factor = count == 2 ? scalar(launch.operands[1]) : 1.0;
  Letters sizes;
  sizes.add(kernel.operand, operand);
  sizes.add(kernel.operand, result);
  for (std::int64_t i = 0; i < sizes.elements(kernel.operand); ++i) {
    store(result, i, (launch.first ? 0.0 : load(result, i)) + factor * load(operand, i));
  }
}

void run(const Fill& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.empty() && launch.results.size() == 1);
  const Piece& result = launch.results[0];
  for (std::int64_t i = 0; i < num_elements(result.box.extent); ++i) store(result, i, kernel.value);
}

void run(const Contribute& /*kernel*/, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 1);
  const Piece& result = launch.results[0];
  store(result, 0, scalar(result) + scalar(launch.operands[0]));
}

namespace {

struct Rates {
  double learning_rate, step, gradient_factor;
};

void sgd(const Update& update, const Rates& rates, const Launch& launch, std::int64_t i) {
  const Piece& parameter = launch.results[0];
  const double p = load(parameter, i);
  const double g = load(launch.operands[0], i) * rates.gradient_factor;
  store(parameter, i, p - rates.learning_rate * (g + update.weight_decay * p));
}

void momentum(const Update& update, const Rates& rates, const Launch& launch, std::int64_t i) {
  const Piece &parameter = launch.results[0], &velocity = launch.results[1];
  const double p = load(parameter, i);
  const double g = load(launch.operands[0], i) * rates.gradient_factor;
  const double u = update.momentum * load(velocity, i) + (g + update.weight_decay * p);
  store(velocity, i, u);
  store(parameter, i, p - rates.learning_rate * u);
}

void adam(const Update& update, const Rates& rates, const Launch& launch, std::int64_t i) {
  const Piece &parameter = launch.results[0], &first = launch.results[1];
  const Piece& second = launch.results[2];
  const bool decoupled = update.kind == OptimizerKind::adamw;
  const double p = load(parameter, i);
  const double g = load(launch.operands[0], i) * rates.gradient_factor +
                   (decoupled ? 0.0 : update.weight_decay * p);
  const double m = update.beta1 * load(first, i) + (1.0 - update.beta1) * g;
  const double v = update.beta2 * load(second, i) + (1.0 - update.beta2) * g * g;
  store(first, i, m);
  store(second, i, v);
  const double m_hat = m / (1.0 - std::pow(update.beta1, rates.step));
  const double v_hat = v / (1.0 - std::pow(update.beta2, rates.step));
  const double decay = decoupled ? update.weight_decay * p : 0.0;
  store(parameter, i,
        p - rates.learning_rate * (m_hat / (std::sqrt(v_hat) + update.epsilon) + decay));
}

void update_element(const Update& update, const Rates& rates, const Launch& launch,
                    std::int64_t i) {
  switch (update.kind) {
    case OptimizerKind::sgd:
      return sgd(update, rates, launch, i);
    case OptimizerKind::momentum:
      return momentum(update, rates, launch, i);
    case OptimizerKind::adam:
    case OptimizerKind::adamw:
      return adam(update, rates, launch, i);
    case OptimizerKind::adafactor:
    case OptimizerKind::lamb:
      check_failed("an optimizer of one operator", SourceLine::here());
  }
}

}  // namespace

void run(const RunningAverage& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 2 && launch.results.size() == 1);
  Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  sizes.add(kernel.operand, launch.results[0]);
  if (!std::isfinite(scalar(launch.operands[1]))) return;
  for (std::int64_t i = 0; i < sizes.elements(kernel.operand); ++i) {
    store(launch.results[0], i,
          kernel.momentum * load(launch.results[0], i) +
              (1.0 - kernel.momentum) * load(launch.operands[0], i));
  }
}

void run(const Update& kernel, const Launch& launch) {
  ALPA_CHECK(launch.operands.size() == 4);
  ALPA_CHECK(launch.results.size() == result_count(kernel.kind));
  Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  for (const Piece& result : launch.results) sizes.add(kernel.operand, result);

  const double norm_squared = scalar(launch.operands[3]);
  if (!std::isfinite(norm_squared)) return;
  const Rates rates{.learning_rate = kernel.learning_rate_factor * scalar(launch.operands[1]),
                    .step = scalar(launch.operands[2]),
                    .gradient_factor = clip_factor(kernel.clip_norm, norm_squared)};
  for (std::int64_t i = 0; i < sizes.elements(kernel.operand); ++i) {
    update_element(kernel, rates, launch, i);
  }
}

}  // namespace alpa::reference
