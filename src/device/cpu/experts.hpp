#pragma once

#include <algorithm>
#include <vector>

#include "common/routing.hpp"
#include "cpu/rows.hpp"

/// Kernels of mixtures of experts: choices per token, and rows moved between tokens and slots.
namespace alpa::cpu {

/// Index of the largest of p[0 .. n) that comes after `previous` in falling order, the first of
/// equal ones before the others; of all of them where `previous` is -1.
template <class T>
std::int64_t next_choice(const T* p, std::int64_t n, std::int64_t previous) {
  std::int64_t best = -1;
  for (std::int64_t x = 0; x < n; ++x) {
    const bool open = previous < 0 || p[x] < p[previous] || (p[x] == p[previous] && x > previous);
    if (open && (best < 0 || p[x] > p[best])) best = x;
  }
  return best < 0 ? (previous + 1) % n : best;  // numbers that do not compare
}

template <class T>
void run_route(const Route& kernel, const Launch& launch, int threads) {
  ALPA_CHECK(launch.operands.size() == 1 && launch.results.size() == 4);
  kernels::Letters sizes;
  sizes.add("bsx", launch.operands[0]);
  for (const std::size_t i : {0U, 1U, 2U}) sizes.add("bsk", launch.results[i]);
  sizes.add("bx", launch.results[3]);
  const std::int64_t tokens = sizes.extent('s'), experts = sizes.extent('x');
  const std::int64_t top_k = kernel.route.top_k;
  ALPA_CHECK(sizes.extent('k') == top_k && top_k <= experts);
  const T* probabilities = data_of<T>(launch.operands[0]);
  std::int32_t* expert = kernels::mutable_integers(launch.results[0]);
  std::int32_t* slot = kernels::mutable_integers(launch.results[1]);
  T* gate = mutable_data_of<T>(launch.results[2]);
  ALPA_CHECK(launch.results[3].dtype == DType::f64);
  auto* density = reinterpret_cast<double*>(launch.results[3].data);

  const auto choose = [&](std::int64_t row) {
    const T* p = probabilities + row * experts;
    T sum = T(0);
    std::int64_t x = -1;
    for (std::int64_t k = 0; k < top_k; ++k) {
      x = next_choice(p, experts, x);
      expert[row * top_k + k] = static_cast<std::int32_t>(x);
      gate[row * top_k + k] = p[x];
      sum += p[x];
    }
    for (std::int64_t k = 0; top_k > 1 && k < top_k; ++k) gate[row * top_k + k] /= sum;
  };
  parallel_for(threads, sizes.elements("bs"), row_grain(experts * top_k),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) choose(row);
               });

  const auto give_slots = [&](std::int64_t b, std::vector<std::int64_t>& used) {
    std::fill(used.begin(), used.end(), 0);
    for (std::int64_t k = 0; k < top_k; ++k) {
      for (std::int64_t row = b * tokens; row < (b + 1) * tokens; ++row) {
        std::int64_t& taken = used[static_cast<std::size_t>(expert[row * top_k + k])];
        const bool fits = taken < kernel.route.capacity;
        slot[row * top_k + k] = fits ? static_cast<std::int32_t>(taken) : -1;
        ++taken;
      }
      if (k > 0) continue;  // all first choices have been counted
      for (std::int64_t x = 0; x < experts; ++x) {
        std::int64_t& first = used[static_cast<std::size_t>(x)];
        density[b * experts + x] = static_cast<double>(first) / static_cast<double>(tokens);
        first = std::min(first, kernel.route.capacity);
      }
    }
  };
  parallel_for(threads, sizes.extent('b'), row_grain(tokens * top_k),
               [&](std::int64_t begin, std::int64_t end) {
                 std::vector<std::int64_t> used(static_cast<std::size_t>(experts));
                 for (std::int64_t b = begin; b < end; ++b) give_slots(b, used);
               });
}

// gate_k = p_k / P, P the sum of the chosen p: dp_k = (dgate_k - sum_j dgate_j gate_j) / P.
template <class T>
void run_route_gradient(const RouteGradient& kernel, const Launch& launch, int threads) {
  ALPA_CHECK(launch.operands.size() == 3 && launch.results.size() == 1);
  kernels::Letters sizes;
  sizes.add("bsx", launch.operands[0]);
  sizes.add("bsk", launch.operands[1]);
  sizes.add("bsk", launch.operands[2]);
  sizes.add("bsx", launch.results[0]);
  const std::int64_t experts = sizes.extent('x'), top_k = kernel.route.top_k;
  ALPA_CHECK(sizes.extent('k') == top_k);
  const T* probabilities = data_of<T>(launch.operands[0]);
  const std::int32_t* expert = kernels::integers(launch.operands[1]);
  const T* dgate = data_of<T>(launch.operands[2]);
  T* result = mutable_data_of<T>(launch.results[0]);
  const auto derive = [&](std::int64_t row) {
    const T* p = probabilities + row * experts;
    const std::int32_t* chosen = expert + row * top_k;
    const T* slope = dgate + row * top_k;
    T* dp = result + row * experts;
    std::fill_n(dp, experts, T(0));
    double sum = 1.0, mean = 0.0;
    if (top_k > 1) {
      sum = 0.0;
      for (std::int64_t k = 0; k < top_k; ++k) sum += static_cast<double>(p[chosen[k]]);
      for (std::int64_t k = 0; k < top_k; ++k) {
        mean += static_cast<double>(slope[k]) * (static_cast<double>(p[chosen[k]]) / sum);
      }
    }
    for (std::int64_t k = 0; k < top_k; ++k) {
      dp[chosen[k]] = static_cast<T>((static_cast<double>(slope[k]) - mean) / sum);
    }
  };
  parallel_for(threads, sizes.elements("bs"), row_grain(experts),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) derive(row);
               });
}

/// Writes the slots of groups [b_begin, b_end) of experts [x_begin, x_end).
template <class T>
void dispatch_part(const kernels::Routing& routing, const T* x, const T* gate, T* slots,
                   std::int64_t b_begin, std::int64_t b_end, std::int64_t x_begin,
                   std::int64_t x_end) {
  const std::int64_t width = routing.width(), choices = routing.choices();
  const std::int64_t group = routing.capacity() * width;  // of an expert
  for (std::int64_t expert = x_begin; expert < x_end; ++expert) {
    T* first = slots + (expert * routing.groups() + b_begin) * group;
    std::fill_n(first, (b_end - b_begin) * group, T(0));
  }
  const std::int64_t rows_of_expert = routing.groups() * routing.capacity();
  for (std::int64_t row = b_begin * routing.group_tokens(); row < b_end * routing.group_tokens();
       ++row) {
    for (std::int64_t k = 0; k < choices; ++k) {
      const std::int64_t to = routing.slot_row(row, k);
      if (to < x_begin * rows_of_expert || to >= x_end * rows_of_expert) continue;
      const T* from = x + row * width;
      if (gate == nullptr) {
        std::copy_n(from, width, slots + to * width);
        continue;
      }
      const T factor = gate[row * choices + k];
      T* result = slots + to * width;
      for (std::int64_t e = 0; e < width; ++e) result[e] = factor * from[e];
    }
  }
}

/// Threads take groups, or experts where groups are few.
template <class T>
void run_dispatch(const Dispatch& kernel, const Launch& launch, int threads) {
  ALPA_CHECK(launch.operands.size() == (kernel.gated ? 4U : 3U) && launch.results.size() == 1);
  const kernels::Routing routing(launch.operands[0], launch.results[0], launch.operands[1],
                                 launch.operands[2]);
  const T* x = data_of<T>(launch.operands[0]);
  const T* gate = kernel.gated ? data_of<T>(launch.operands[3]) : nullptr;
  T* slots = mutable_data_of<T>(launch.results[0]);
  const std::int64_t groups = routing.groups(), experts = routing.experts();
  const std::int64_t slots_of_one = routing.capacity() * routing.width();
  if (groups >= threads) {
    parallel_for(threads, groups, row_grain(slots_of_one * experts),
                 [&](std::int64_t begin, std::int64_t end) {
                   dispatch_part(routing, x, gate, slots, begin, end, 0, experts);
                 });
  } else {
    parallel_for(threads, experts, row_grain(slots_of_one * groups),
                 [&](std::int64_t begin, std::int64_t end) {
                   dispatch_part(routing, x, gate, slots, 0, groups, begin, end);
                 });
  }
}

template <class T>
void run_combine(const Combine& kernel, const Launch& launch, int threads) {
  ALPA_CHECK(launch.operands.size() == (kernel.gated ? 4U : 3U) && launch.results.size() == 1);
  const kernels::Routing routing(launch.results[0], launch.operands[0], launch.operands[1],
                                 launch.operands[2]);
  const T* slots = data_of<T>(launch.operands[0]);
  const T* gate = kernel.gated ? data_of<T>(launch.operands[3]) : nullptr;
  T* tokens = mutable_data_of<T>(launch.results[0]);
  const std::int64_t width = routing.width(), choices = routing.choices();
  const auto combine = [&](std::int64_t row) {
    T* to = tokens + row * width;
    bool empty = true;
    for (std::int64_t k = 0; k < choices; ++k) {
      const std::int64_t place = routing.slot_row(row, k);
      if (place < 0) continue;
      const T* from = slots + place * width;
      const T factor = gate != nullptr ? gate[row * choices + k] : T(1);
      if (empty) {
        for (std::int64_t e = 0; e < width; ++e) to[e] = factor * from[e];
      } else {
        for (std::int64_t e = 0; e < width; ++e) to[e] += factor * from[e];
      }
      empty = false;
    }
    if (empty) std::fill_n(to, width, T(0));
  };
  parallel_for(threads, routing.token_rows(), row_grain(width * choices),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) combine(row);
               });
}

template <class T>
void run_gate_gradient(const Launch& launch, int threads) {
  ALPA_CHECK(launch.operands.size() == 4 && launch.results.size() == 1);
  const kernels::Routing routing(launch.operands[0], launch.operands[1], launch.operands[2],
                                 launch.operands[3]);
  const T* dy = data_of<T>(launch.operands[0]);
  const T* slots = data_of<T>(launch.operands[1]);
  T* result = mutable_data_of<T>(launch.results[0]);
  const std::int64_t width = routing.width(), choices = routing.choices();
  const auto dot = [&](const T* a, const T* b) {
    double sum = 0.0;
    for (std::int64_t e = 0; e < width; ++e) {
      sum += static_cast<double>(a[e]) * static_cast<double>(b[e]);
    }
    return static_cast<T>(sum);
  };
  parallel_for(threads, routing.token_rows(), row_grain(width * choices),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin * choices; i < end * choices; ++i) {
                   const std::int64_t row = i / choices;
                   const std::int64_t place = routing.slot_row(row, i % choices);
                   result[i] = place < 0 ? T(0) : dot(dy + row * width, slots + place * width);
                 }
               });
}

}  // namespace alpa::cpu
