#include "learning_rate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "alpa/base/error.hpp"

namespace alpa {

double learning_rate(const OptimizerConfig& optimizer, std::int64_t step, std::int64_t steps) {
  const ScheduleConfig& schedule = optimizer.schedule;
  const double full = optimizer.learning_rate;
  if (step < schedule.warmup) {
    return full * static_cast<double>(step) / static_cast<double>(schedule.warmup);
  }
  const auto share = [&](std::int64_t first, std::int64_t last) {
    if (last <= first) return step >= last ? 1.0 : 0.0;
    const double done = static_cast<double>(step - first) / static_cast<double>(last - first);
    return std::clamp(done, 0.0, 1.0);
  };
  const double fall = 1.0 - schedule.final_share;
  switch (schedule.name) {
    case RateSchedule::constant:
      return full;
    case RateSchedule::linear:
      return full * (1.0 - fall * share(schedule.warmup, steps));
    case RateSchedule::cosine: {
      const double cosine = std::cos(std::numbers::pi * share(schedule.warmup, steps));
      return full * (schedule.final_share + fall * 0.5 * (1.0 + cosine));
    }
    case RateSchedule::wsd: {
      const std::int64_t decay = schedule.decay.value_or(steps / 5);
      return full * (1.0 - fall * share(std::max(schedule.warmup, steps - decay), steps));
    }
  }
  check_failed("known schedule", SourceLine::here());
}

}  // namespace alpa
