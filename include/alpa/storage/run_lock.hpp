#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace alpa {

/// Who holds a run directory.
struct LockHolder {
  std::string host;
  std::string boot;  ///< boot id and pid name space: where `pid` means something
  int pid = 0;
  std::string started;  ///< start time of the process, so that a reused pid is not taken for it
  std::string job;      ///< batch system's job id, or empty

  friend bool operator==(const LockHolder&, const LockHolder&) = default;
};

/// The calling process.
[[nodiscard]] LockHolder this_process(std::string job);

struct RunLockOptions {
  std::chrono::milliseconds renew_every{10'000};
  std::chrono::milliseconds dead_after{60'000};  ///< without renewal, for a holder elsewhere
};

/// Exclusive use of a run directory: the file `lock` in it, renewed by a thread, removed at the
/// end. A holder is dead if its process is gone (same host) or if the file was not renewed for
/// `dead_after` by the file system's own clock; its lock is taken over. Works between hosts.
class RunLock {
 public:
  /// @throws UserError (73) naming the holder if it lives, or with path and errno if nothing can be
  /// written in `directory`
  RunLock(const std::filesystem::path& directory, const LockHolder& self,
          RunLockOptions options = {});
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// The dead holder whose lock was taken over, for the log.
  [[nodiscard]] const std::optional<LockHolder>& taken_over() const;
  /// True once the lock was taken by another process or removed: this one must stop writing.
  [[nodiscard]] bool lost() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace alpa
