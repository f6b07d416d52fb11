#include "planning_progress.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace alpa {
namespace {

constexpr double kSilent = 2.0;         ///< seconds
constexpr double kBetweenLines = 2.0;   ///< seconds
constexpr double kBetweenFrames = 0.1;  ///< seconds, on a terminal

}  // namespace

PlanningProgress::PlanningProgress(Process& process, int fd, bool terminal)
    : process_(process),
      terminal_(terminal),
      progress_(fd, terminal, [&](std::string_view text) { process.log.warning(text); }) {}

void PlanningProgress::say(const std::string& phase, double share, std::optional<Seconds> best) {
  process_.watchdog.alive();
  const auto now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double pause = terminal_ ? kBetweenFrames : kBetweenLines;
  if (elapsed < kSilent || std::chrono::duration<double>(now - last_).count() < pause) return;
  last_ = now;
  const auto percent = std::lround(100.0 * std::clamp(share, 0.0, 1.0));
  std::string line =
      "planning " + to_text(Seconds{elapsed}) + ": " + phase + " " + std::to_string(percent) + " %";
  if (best) line += ", best so far " + to_text(*best) + " a step";
  if (process_.log.shows(LogLevel::info)) progress_.update(line);
  process_.log.info(line);
}

void PlanningProgress::finish() { progress_.finish(); }

}  // namespace alpa
