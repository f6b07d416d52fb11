#pragma once

#include <algorithm>
#include <cstdint>

namespace alpa::cpu {

/// Calls f(begin, end) on equal parts of [0, count), at most `threads` of them and none shorter
/// than `grain` unless there is only one; returns when all are done. With one part no thread is
/// touched.
template <class F>
void parallel_for(int threads, std::int64_t count, std::int64_t grain, const F& f) {
  const std::int64_t parts =
      std::clamp<std::int64_t>(count / std::max<std::int64_t>(grain, 1), 1, threads);
  if (parts == 1) {
    f(std::int64_t{0}, count);
    return;
  }
#pragma omp parallel for num_threads(static_cast<int>(parts)) schedule(static, 1)
  for (std::int64_t part = 0; part < parts; ++part) {
    f(count * part / parts, count * (part + 1) / parts);
  }
}

}  // namespace alpa::cpu
