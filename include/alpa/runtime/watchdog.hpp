#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "alpa/base/units.hpp"
#include "alpa/program/program.hpp"
#include "alpa/runtime/executor.hpp"
#include "alpa/runtime/heartbeat.hpp"

namespace alpa {

struct WatchdogOptions {
  Seconds patience{300.0};  ///< 0: never ends the process; heartbeats are written all the same
  Seconds interval{1.0};    ///< between looks, and between heartbeats
  int rank = 0;             ///< as far as known before MPI starts
  std::string host;
  /// Ends the job with that code, say by abort_all. Called on a thread of its own; where it takes
  /// longer than five intervals or is empty, the process ends by _exit.
  std::function<void(int)> end;
};

/// A thread that notices when the run stands still, in whatever call: start it before MPI, whose
/// start and end can hang. Progress is a change of phase or step, a call of alive(), or a tick of
/// the watched Position.
///
/// Without progress for `patience`, and (once heartbeats are written) on no other rank either, the
/// job hangs: one rank says on stderr which rank keeps the others waiting, on which host, in which
/// phase, step and instruction, leaves an exit record in the run directory, and every rank ends
/// with ExitCode::rank_lost. That rank is the culprit, or the lowest that lives if the culprit does
/// not. Time in which this process was stopped (SIGSTOP) does not count against its own patience.
///
/// Made on the rank's main thread, whose polling it observes. Members may be called from any
/// thread.
class Watchdog {
 public:
  /// Says what a Position means. Called on the watchdog's thread while the rank runs.
  using Describe = std::function<std::string(const Position&)>;

  explicit Watchdog(WatchdogOptions options);
  /// Ends the thread; the heartbeat says `done` unless an exception is on its way.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// The run is in this phase now.
  void enter(RunPhase phase, std::int64_t step = 0);
  /// A long phase gets on.
  void alive() noexcept;
  /// Watches this position, which must outlive the watchdog or the next call of watch or unwatch.
  void watch(const Position& position, Describe describe);
  void unwatch();

  void set_patience(Seconds patience);
  void set_rank(int rank, std::string host);
  void set_end(std::function<void(int)> end);
  /// From now on writes heartbeats there, the first at once.
  void write_heartbeats(const std::filesystem::path& run_directory);

  /// "train, step 20, backward 3, instruction 45 all_reduce grad.w1", for error messages. Never
  /// waits for long; empty where it would have to.
  [[nodiscard]] std::string where() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// "backward 3 of microbatch 1, instruction 45 all_reduce grad.w1": what a program does at a
/// position; empty where the position names nothing of it.
[[nodiscard]] std::string describe(const Program& program, const Position& position);

}  // namespace alpa
