#pragma once

#include <cmath>

#include "cpu/rows.hpp"
#include "reference/kernels.hpp"

/// Optimizer steps: one pass over gradient, parameter and state.
namespace alpa::cpu {

/// An update's numbers for one step, as T.
template <class T>
struct UpdateRates {
  T learning_rate, gradient_factor, weight_decay, momentum;
  T beta1, beta2, rest1, rest2;         ///< rest = 1 - beta
  T correction1, correction2, epsilon;  ///< correction = 1 / (1 - beta^t)
};

template <class T>
UpdateRates<T> rates_of(const Update& update, const Launch& launch, double norm_squared) {
  const double step = kernels::scalar(launch.operands[2]);
  const double rate = update.learning_rate_factor * kernels::scalar(launch.operands[1]);
  return {.learning_rate = static_cast<T>(rate),
          .gradient_factor = static_cast<T>(reference::clip_factor(update.clip_norm, norm_squared)),
          .weight_decay = static_cast<T>(update.weight_decay),
          .momentum = static_cast<T>(update.momentum),
          .beta1 = static_cast<T>(update.beta1),
          .beta2 = static_cast<T>(update.beta2),
          .rest1 = static_cast<T>(1.0 - update.beta1),
          .rest2 = static_cast<T>(1.0 - update.beta2),
          .correction1 = static_cast<T>(1.0 / (1.0 - std::pow(update.beta1, step))),
          .correction2 = static_cast<T>(1.0 / (1.0 - std::pow(update.beta2, step))),
          .epsilon = static_cast<T>(update.epsilon)};
}

template <class T>
void sgd_run(const UpdateRates<T>& r, const T* g, T* p, std::int64_t n) {
  fill_run(p, n, [&](std::int64_t i) {
    return p[i] - r.learning_rate * (g[i] * r.gradient_factor + r.weight_decay * p[i]);
  });
}

template <class T>
void momentum_run(const UpdateRates<T>& r, const T* g, T* p, T* u, std::int64_t n) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) {
    u[i] = r.momentum * u[i] + (g[i] * r.gradient_factor + r.weight_decay * p[i]);
    p[i] -= r.learning_rate * u[i];
  }
}

/// `coupled`: weight decay is part of the gradient (adam), else of the step (adamw).
template <bool coupled, class T>
void adam_run(const UpdateRates<T>& r, const T* g, T* p, T* m, T* v, std::int64_t n) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < n; ++i) {
    const T gradient = g[i] * r.gradient_factor + (coupled ? r.weight_decay * p[i] : T(0));
    m[i] = r.beta1 * m[i] + r.rest1 * gradient;
    v[i] = r.beta2 * v[i] + r.rest2 * gradient * gradient;
    const T step = m[i] * r.correction1 / (std::sqrt(v[i] * r.correction2) + r.epsilon);
    p[i] -= r.learning_rate * (step + (coupled ? T(0) : r.weight_decay * p[i]));
  }
}

/// @pre norm_squared is finite, and gradient and results are all T
template <class T>
void run_update(const Update& kernel, const Launch& launch, double norm_squared, int threads) {
  kernels::Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  for (const Piece& result : launch.results) sizes.add(kernel.operand, result);
  const UpdateRates<T> rates = rates_of<T>(kernel, launch, norm_squared);
  const T* g = data_of<T>(launch.operands[0]);
  const auto result = [&](std::size_t i) { return mutable_data_of<T>(launch.results[i]); };
  parallel_for(
      threads, sizes.elements(kernel.operand), 4 * kGrain,
      [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t n = end - begin;
        const T* gradient = g + begin;
        T* p = result(0) + begin;
        switch (kernel.kind) {
          case OptimizerKind::sgd:
            return sgd_run(rates, gradient, p, n);
          case OptimizerKind::momentum:
            return momentum_run(rates, gradient, p, result(1) + begin, n);
          case OptimizerKind::adam:
            return adam_run<true>(rates, gradient, p, result(1) + begin, result(2) + begin, n);
          case OptimizerKind::adamw:
            return adam_run<false>(rates, gradient, p, result(1) + begin, result(2) + begin, n);
          case OptimizerKind::adafactor:
          case OptimizerKind::lamb:
            check_failed("an optimizer of one operator", SourceLine::here());
        }
      });
}

}  // namespace alpa::cpu
