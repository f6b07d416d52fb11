#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace alpa {

/// Where a run is, in the order in which a run goes through it first.
enum class RunPhase : std::uint8_t { init, plan, load, train, evaluate, checkpoint, finalize };
[[nodiscard]] std::string to_string(RunPhase phase);

/// A rank's sign of life. Ranks keep one each in heartbeat/ of the run directory, as a file of
/// kHeartbeatSize bytes that is rewritten in place each second. Fine for some hundreds of ranks on
/// one shared file system.
struct Heartbeat {
  enum class State : std::uint8_t {
    running,
    terminated,  ///< ended by SIGTERM or SIGINT: from the launcher, the batch system or a user
    done,        ///< left in good order
  };
  int rank = 0;
  std::string host;
  State state = State::running;
  RunPhase phase = RunPhase::init;
  std::int64_t step = 0;
  int call = -1;
  int instruction = -1;
  std::uint64_t ticks = 0;  ///< grows with everything that completes
  double idle = 0.0;        ///< seconds since the last progress, when written
  bool polling = false;     ///< the rank's thread was polling for others, rather than stuck itself
  std::string doing;        ///< "backward 3, instruction 45 all_reduce grad.w1"; cut where too long
  double age = 0.0;         ///< set by reading: seconds older than the newest one of all ranks
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};
inline constexpr std::size_t kHeartbeatSize = 512;

/// kHeartbeatSize bytes of text lines; names made printable. parse_heartbeat gives it back, or
/// nullopt for anything else (a torn or foreign file).
[[nodiscard]] std::string to_text(const Heartbeat& heartbeat);
[[nodiscard]] std::optional<Heartbeat> parse_heartbeat(std::string_view text);

/// <run directory>/heartbeat/rank_00002
[[nodiscard]] std::filesystem::path heartbeat_path(const std::filesystem::path& run_directory,
                                                   int rank);

/// Writes the rank's file, making the folder where it is missing; never through a symbolic link.
/// False if it could not: a heartbeat is never worth an error.
bool write_heartbeat(const std::filesystem::path& run_directory,
                     const Heartbeat& heartbeat) noexcept;

/// All heartbeats found, by rank.
[[nodiscard]] std::vector<Heartbeat> read_heartbeats(const std::filesystem::path& run_directory);

/// Removes those of an earlier run.
void remove_heartbeats(const std::filesystem::path& run_directory);

/// The rank that keeps the others waiting, index into `heartbeats`; nullopt if there are none that
/// run. In this order: one that shows no life (`age` > `stale_after` seconds: stopped or dead), the
/// lowest step, not polling before polling, the earlier phase, idle for longest, the lowest rank.
[[nodiscard]] std::optional<std::size_t> least_progress(std::span<const Heartbeat> heartbeats,
                                                        double stale_after = 5.0);

/// "rank 2 on host a: train, step 20, backward 3, instruction 45 all_reduce grad.w1"
[[nodiscard]] std::string describe(const Heartbeat& heartbeat);

/// Names the file that mark_terminated changes. Call before or without signals that use it.
void set_marked_heartbeat(const std::filesystem::path& run_directory, int rank);
/// Sets the state in this process's file to terminated. Safe in a signal handler.
void mark_terminated() noexcept;
/// Whether mark_terminated was called.
[[nodiscard]] bool marked_terminated() noexcept;

}  // namespace alpa
