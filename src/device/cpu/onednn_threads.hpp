#pragma once

#include <omp.h>

namespace alpa::cpu {

/// The number of OpenMP threads of the calling thread, for a while: oneDNN takes it from there.
class ThreadsForNow {
 public:
  explicit ThreadsForNow(int threads) : before_(omp_get_max_threads()) {
    if (before_ != threads) omp_set_num_threads(threads);
  }
  ~ThreadsForNow() { omp_set_num_threads(before_); }
  ThreadsForNow(const ThreadsForNow&) = delete;
  ThreadsForNow& operator=(const ThreadsForNow&) = delete;

 private:
  int before_;
};

}  // namespace alpa::cpu
