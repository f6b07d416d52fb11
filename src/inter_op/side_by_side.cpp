#include "side_by_side.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace alpa {
namespace {

constexpr std::size_t kMostThreads = 4;

}  // namespace

void side_by_side(std::size_t jobs, const std::function<void(std::size_t)>& job) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failed;
  const auto take = [&] {
    try {
      for (std::size_t j = next++; j < jobs; j = next++) job(j);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failed) failed = std::current_exception();
    }
  };
  const std::size_t threads = std::min<std::size_t>(
      {jobs, kMostThreads, std::max(1U, std::thread::hardware_concurrency())});
  {
    std::vector<std::jthread> others;
    for (std::size_t t = 1; t < threads; ++t) others.emplace_back(take);
    take();
  }
  if (failed) std::rethrow_exception(failed);
}

}  // namespace alpa
