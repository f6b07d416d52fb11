#include "machine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <omp.h>
#include <sys/mman.h>

namespace alpa::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(float));
constexpr int kChains = 12;  // independent, so that latency does not show
using Vector [[gnu::vector_size(kVectorBytes)]] = float;

/// x = x * factor + term in each chain, `rounds` times; a sum that depends on all.
[[gnu::noinline]] float multiply_adds(std::int64_t rounds, float start, float factor, float term) {
  Vector chains[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) chains[i] = Vector{} + (start + static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chains[i] = chains[i] * factor + term;
  }
  Vector sum{};
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum += chains[i];
  return sum[0];
}

double measure_flops(int threads) {
  constexpr std::int64_t kRounds = 1'000'000;
  const volatile float factor = 0.999F;  // read once, so that nothing is computed beforehand
  double best = 0.0;
  float sink = 0.0F;
  for (int attempt = 0; attempt < 20; ++attempt) {
    const auto start = Clock::now();
#pragma omp parallel num_threads(threads) reduction(+ : sink)
    sink += multiply_adds(kRounds, static_cast<float>(attempt), factor, 1.0F - factor);
    const double operations = 2.0 * kLanes * kChains * static_cast<double>(kRounds) * threads;
    best = std::max(best, operations / seconds_since(start));
  }
  return std::isfinite(sink) ? best : 0.0;
}

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};
using Array = std::unique_ptr<float, Free>;

Array make_array(std::size_t count) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20U;
  auto* memory = static_cast<float*>(std::aligned_alloc(kHugePage, count * sizeof(float)));
  if (memory == nullptr) std::abort();
  madvise(memory, count * sizeof(float), MADV_HUGEPAGE);  // advice
  return Array(memory);
}

double measure_stream(int threads) {
  constexpr std::int64_t kCount = std::int64_t{1} << 25U;  // 128 MiB an array
  const Array arrays[4] = {make_array(kCount), make_array(kCount), make_array(kCount),
                           make_array(kCount)};
  float *p = arrays[0].get(), *m = arrays[1].get(), *v = arrays[2].get(), *g = arrays[3].get();
#pragma omp parallel for num_threads(threads) schedule(static)
  for (std::int64_t i = 0; i < kCount; ++i) p[i] = m[i] = v[i] = g[i] = 0.5F;
  double best = 0.0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const auto start = Clock::now();
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (std::int64_t i = 0; i < kCount; ++i) {
      m[i] = 0.9F * m[i] + 0.1F * g[i];
      v[i] = 0.999F * v[i] + 0.001F * g[i] * g[i];
      p[i] -= 1e-4F * (m[i] / (std::sqrt(v[i]) + 1e-8F) + 0.1F * p[i]);
    }
    best = std::max(best, 28.0 * static_cast<double>(kCount) / seconds_since(start));
  }
  return best;
}

}  // namespace

Machine measure_machine(int threads) { return {measure_flops(threads), measure_stream(threads)}; }

}  // namespace alpa::bench
