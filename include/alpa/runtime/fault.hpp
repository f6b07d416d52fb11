#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "alpa/storage/file.hpp"

namespace alpa {

/// What a fault asks of the code that reaches its point; the others are done on the spot.
enum class FaultAction : std::uint8_t {
  none,
  nan,          ///< make a value NaN
  inf,          ///< make a value infinite
  bit_flip,     ///< change one bit of what is being moved or written
  no_space,     ///< fail the system call with ENOSPC
  io_error,     ///< fail the system call with EIO
  short_write,  ///< write half
  bad_token,    ///< deliver a token id outside the vocabulary
};
[[nodiscard]] std::string to_string(FaultAction action);

/// Faults of this process, as tests ask for them in ALPA_FAULT. Present in every build, and nothing
/// is due where the variable is not set.
///
///     ALPA_FAULT='rank=2;at=step:20.backward;do=kill9,at=checkpoint:40.write:2;do=enospc'
///
/// Faults are separated by commas; without `rank` a fault is every rank's. Points:
///
///     init  plan  load  finalize
///     step:N.{data,forward,backward,reduce,update}            step N, counted from 1
///     checkpoint:N.{stage,write:K,fsync,rename,prune}         the checkpoint of step N; its K-th
///                                                             write (from 1) on this rank
///
/// Deeds: kill9, segv, abort, throw (an Error with ExitCode::bug), stop (SIGSTOP), sleep:SECONDS,
/// slow:FACTOR (from then on this thread takes FACTOR times as long between points), oom (an
/// allocation that fails), and those of FaultAction: nan, inf, bitflip, enospc, eio, shortwrite,
/// badtoken. Each fault happens once, when its point is first reached.
///
/// Copies share their state: each fault still happens once. Any thread may reach points.
class FaultPlan {
 public:
  /// No faults.
  FaultPlan() = default;
  /// @throws UserError (64) that quotes what was found and says what was expected
  explicit FaultPlan(std::string_view text);
  /// From ALPA_FAULT of this process.
  [[nodiscard]] static FaultPlan from_environment();

  [[nodiscard]] bool empty() const noexcept { return state_ == nullptr; }
  /// Which rank this process is. Until it is known only faults without `rank` are due.
  void set_rank(int rank);

  /// Whether a fault of this rank waits at the point ("init", "step:20.backward").
  [[nodiscard]] bool due(std::string_view point) const;
  /// Does what is due at the point. Returns what the caller must do itself.
  FaultAction reach(std::string_view point);
  /// The same for step:N.PART, cheap where there are no faults.
  FaultAction reach_step(std::int64_t step, std::string_view part);

  /// Hook for the system calls of the checkpoint of that step: its calls ("stage", "write", ...)
  /// are the points checkpoint:N.... Empty if there are no faults.
  [[nodiscard]] IoHook checkpoint_hook(std::int64_t step) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace alpa
