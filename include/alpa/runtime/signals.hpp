#pragma once

#include <optional>

#include "alpa/base/units.hpp"
#include "alpa/comm/launcher.hpp"

namespace alpa {

/// SIGUSR1: save and exit 85. SIGUSR2: save and go on. Repeats ask for the same again: batch
/// systems and launchers often deliver a signal twice. SIGTERM and SIGINT end the process at once
/// by their default action, after a mark in the heartbeat that tells it from a crash (see
/// runtime/heartbeat.hpp). SIGPIPE is ignored, so that a closed stdout is an error of write(2).
/// Call once, early.
void install_signal_handlers();

/// What signals have asked for on this rank, for the step's world reduction.
struct SignalRequests {
  bool stop = false;  ///< save, then exit with ExitCode::stopped
  bool save = false;  ///< save, then go on
  friend bool operator==(const SignalRequests&, const SignalRequests&) = default;
};
[[nodiscard]] SignalRequests signal_requests() noexcept;

/// Call when a save asked for (by any rank) is under way: the ranks get one signal at different
/// steps, and must not save once for each.
void clear_save_request() noexcept;

/// Opens /dev/null in place of standard streams that are closed, so that no file of the run gets
/// their numbers. Returns whether stdout was closed, for a warning.
bool protect_standard_streams();

/// When the process must have ended.
class TimeLimit {
 public:
  /// No limit.
  TimeLimit() = default;
  /// So long after the start of this process.
  [[nodiscard]] static TimeLimit after_start(Seconds duration);
  /// The end of the Slurm job (SLURM_JOB_END_TIME); no limit outside of one, or where it is no
  /// time.
  [[nodiscard]] static TimeLimit of_job(const Environment& environment);

  /// Time left, negative once over; nullopt without a limit.
  [[nodiscard]] std::optional<Seconds> remaining() const;

 private:
  std::optional<double> end_;  ///< seconds of CLOCK_REALTIME since 1970
};

/// Whether to save and stop after this step: what is left does not surely hold another step and the
/// checkpoint, remaining < 1.5 (checkpoint + step) + margin. False without a limit.
[[nodiscard]] bool must_stop(std::optional<Seconds> remaining, Seconds checkpoint, Seconds step,
                             Seconds margin);

}  // namespace alpa
