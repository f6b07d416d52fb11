#include "deadline.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace alpa {

Deadline::Deadline(Seconds after)
    : thread_([source = source_, after](const std::stop_token& ended) mutable {
        constexpr double kLongest = 1e8;  // three years; the clock would overflow far beyond
        std::mutex mutex;
        std::condition_variable_any wake;
        std::unique_lock held(mutex);
        const std::chrono::duration<double> time(std::min(after.value, kLongest));
        wake.wait_for(held, ended, time, [] { return false; });
        if (!ended.stop_requested()) source.request_stop();
      }) {}

}  // namespace alpa
