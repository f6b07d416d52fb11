#pragma once

#include <cstdint>

#include "alpa/config/training_config.hpp"

namespace alpa {

/// Learning rate of step `step` (from 1) of `steps`: rises linearly to the full rate at step
/// `warmup`, then by the schedule's name down to final_share of it at the last step.
[[nodiscard]] double learning_rate(const OptimizerConfig& optimizer, std::int64_t step,
                                   std::int64_t steps);

}  // namespace alpa
