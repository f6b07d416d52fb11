#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "alpa/report/progress.hpp"

#include "train.hpp"

namespace alpa {

/// Says what the planner does once that takes longer than two seconds, and tells the watchdog that
/// it gets on.
class PlanningProgress {
 public:
  /// @param fd of the lines   @param terminal whether they are rewritten in place
  PlanningProgress(Process& process, int fd, bool terminal);

  void say(const std::string& phase, double share, std::optional<Seconds> best);
  /// Leaves the last line standing.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  Process& process_;
  bool terminal_;
  Progress progress_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

}  // namespace alpa
