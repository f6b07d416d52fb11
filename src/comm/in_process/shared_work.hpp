#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

namespace alpa {

/// Tasks on buffers of several ranks, run by whichever rank comes by. A rank may take its buffers
/// back once `help` has returned true, or after `abandon`.
class SharedWork {
 public:
  /// Called once, by the rank that completes the meeting. @pre tasks >= 1
  void begin(std::int64_t tasks, std::function<void(std::int64_t)> task) {
    task_ = std::move(task);
    tasks_ = tasks;
    begun_.store(true, std::memory_order_release);
  }

  [[nodiscard]] bool begun() const noexcept { return begun_.load(std::memory_order_acquire); }

  /// Runs the tasks nobody has taken; true once all are finished.
  [[nodiscard]] bool help() {
    if (!begun()) return false;
    if (finished()) return true;
    // Counts itself in before it looks: abandon() does the reverse, so one of the two sees the
    // other.
    running_.fetch_add(1);
    while (!abandoned_.load()) {
      const std::int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks_) break;
      task_(task);
      finished_.fetch_add(1, std::memory_order_acq_rel);
    }
    running_.fetch_sub(1);
    return finished();
  }

  /// After this, nobody touches the buffers any more. For ranks that leave because of an error.
  void abandon() noexcept {
    abandoned_.store(true);
    while (running_.load() != 0) std::this_thread::yield();
  }

 private:
  [[nodiscard]] bool finished() const noexcept {
    return finished_.load(std::memory_order_acquire) == tasks_;
  }

  std::function<void(std::int64_t)> task_;
  std::int64_t tasks_ = 0;
  std::atomic<bool> begun_ = false;
  std::atomic<std::int64_t> next_ = 0;
  std::atomic<std::int64_t> finished_ = 0;
  std::atomic<int> running_ = 0;
  std::atomic<bool> abandoned_ = false;
};

}  // namespace alpa
