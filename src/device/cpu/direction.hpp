#pragma once

#include <cmath>

#include "cpu/rows.hpp"
#include "reference/kernels.hpp"

/// Optimizers of several operators, one pass each. @pre the squared norm of the gradient is finite
namespace alpa::cpu {

template <class T>
void run_lamb_direction(const LambDirection& kernel, const Launch& launch, int threads) {
  kernels::Letters sizes;
  for (const auto i : {0U, 1U}) sizes.add(kernel.operand, launch.operands[i]);
  for (const Piece& result : launch.results) sizes.add(kernel.operand, result);
  const double step = kernels::scalar(launch.operands[2]);
  const auto clip =
      static_cast<T>(reference::clip_factor(kernel.clip_norm, kernels::scalar(launch.operands[3])));
  const auto beta1 = static_cast<T>(kernel.beta1), rest1 = static_cast<T>(1.0 - kernel.beta1);
  const auto beta2 = static_cast<T>(kernel.beta2), rest2 = static_cast<T>(1.0 - kernel.beta2);
  const auto correction1 = static_cast<T>(1.0 / (1.0 - std::pow(kernel.beta1, step)));
  const auto correction2 = static_cast<T>(1.0 / (1.0 - std::pow(kernel.beta2, step)));
  const auto epsilon = static_cast<T>(kernel.epsilon);
  const auto decay = static_cast<T>(kernel.weight_decay);
  const T *g = data_of<T>(launch.operands[0]), *p = data_of<T>(launch.operands[1]);
  T *m = mutable_data_of<T>(launch.results[0]), *v = mutable_data_of<T>(launch.results[1]);
  T* direction = mutable_data_of<T>(launch.results[2]);
  parallel_for(threads, sizes.elements(kernel.operand), 4 * kGrain,
               [=](std::int64_t begin, std::int64_t end) {
#pragma GCC ivdep
                 for (std::int64_t i = begin; i < end; ++i) {
                   const T gradient = g[i] * clip;
                   m[i] = beta1 * m[i] + rest1 * gradient;
                   v[i] = beta2 * v[i] + rest2 * gradient * gradient;
                   direction[i] = m[i] * correction1 / (std::sqrt(v[i] * correction2) + epsilon) +
                                  decay * p[i];
                 }
               });
}

template <class T>
void run_second_moment(const SecondMoment& kernel, const Launch& launch, int threads) {
  kernels::Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  for (const Piece& result : launch.results) sizes.add(kernel.operand, result);
  const double step = kernels::scalar(launch.operands[1]);
  const double clip = reference::clip_factor(kernel.clip_norm, kernels::scalar(launch.operands[2]));
  const double share = std::pow(step, -kernel.decay);
  const auto rest = static_cast<T>(share), kept = static_cast<T>(1.0 - share);
  const auto factor = static_cast<T>(clip * clip / kernel.count);
  const auto epsilon = static_cast<T>(kernel.epsilon);
  const T* value = data_of<T>(launch.operands[0]);
  T *state = mutable_data_of<T>(launch.results[0]), *now = mutable_data_of<T>(launch.results[1]);
  const bool square = kernel.square;
  parallel_for(threads, sizes.elements(kernel.operand), 4 * kGrain,
               [=](std::int64_t begin, std::int64_t end) {
#pragma GCC ivdep
                 for (std::int64_t i = begin; i < end; ++i) {
                   const T mean = factor * (square ? value[i] * value[i] : value[i]);
                   state[i] = kept * state[i] + rest * (mean + epsilon);
                   now[i] = state[i];
                 }
               });
}

/// Rows and columns are the first and the last dimensions, so the operand is a dense matrix. The
/// roots are taken apart: their product leaves the range of float where the moments are tiny.
template <class T>
void run_factored_direction(const FactoredDirection& kernel, const Launch& launch, int threads) {
  const bool factored = !kernel.columns.empty();
  kernels::Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  sizes.add(kernel.operand, launch.results[0]);
  sizes.add(kernel.rows, launch.operands[1]);
  if (factored) sizes.add(kernel.columns, launch.operands[2]);
  const double clip =
      reference::clip_factor(kernel.clip_norm, kernels::scalar(launch.operands.back()));
  const T *g = data_of<T>(launch.operands[0]), *r = data_of<T>(launch.operands[1]);
  T* direction = mutable_data_of<T>(launch.results[0]);
  if (!factored) {
    const auto factor = static_cast<T>(clip);
    parallel_for(threads, sizes.elements(kernel.operand), 4 * kGrain,
                 [=](std::int64_t begin, std::int64_t end) {
#pragma GCC ivdep
                   for (std::int64_t i = begin; i < end; ++i) {
                     direction[i] = g[i] * (factor / std::sqrt(r[i]));
                   }
                 });
    return;
  }
  const double mean = kernels::scalar(launch.operands[3]) / kernel.count;
  const T* c = data_of<T>(launch.operands[2]);
  const std::int64_t columns = sizes.elements(kernel.columns);
  parallel_for(threads, sizes.elements(kernel.rows), row_grain(columns),
               [=](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   const auto of_row =
                       static_cast<T>(clip / std::sqrt(static_cast<double>(r[row]) / mean));
                   const T* gradient = g + row * columns;
                   T* result = direction + row * columns;
#pragma GCC ivdep
                   for (std::int64_t i = 0; i < columns; ++i) {
                     result[i] = gradient[i] * of_row / std::sqrt(c[i]);
                   }
                 }
               });
}

template <class T>
void run_apply_direction(const ApplyDirection& kernel, const Launch& launch, int threads) {
  kernels::Letters sizes;
  sizes.add(kernel.operand, launch.operands[0]);
  sizes.add(kernel.operand, launch.results[0]);
  const reference::DirectionStep step = reference::step_of(kernel, launch);
  const auto along = static_cast<T>(step.along), decay = static_cast<T>(step.decay);
  const T* direction = data_of<T>(launch.operands[0]);
  T* p = mutable_data_of<T>(launch.results[0]);
  parallel_for(threads, sizes.elements(kernel.operand), 4 * kGrain,
               [=](std::int64_t begin, std::int64_t end) {
#pragma GCC ivdep
                 for (std::int64_t i = begin; i < end; ++i) {
                   p[i] -= along * direction[i] + decay * p[i];
                 }
               });
}

}  // namespace alpa::cpu
