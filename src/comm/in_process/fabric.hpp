#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "in_process/meeting.hpp"

namespace alpa {

/// What the ranks of one process share whatever their groups: which of them failed or returned,
/// when anything last moved, and what each waits for. Any rank may call any of it.
class Fabric {
 public:
  Fabric(int size, int patience_ms);

  [[nodiscard]] int size() const noexcept { return static_cast<int>(ranks_.size()); }

  /// Throws if any rank has failed.
  void check_alive(int rank) const;
  /// Notes that `rank` failed; the first to fail counts.
  void note_failure(int rank, const std::string& why);
  /// Notes it together with what every rank waits for, and throws.
  [[noreturn]] void fail(int rank, const std::string& why);

  void note_return(int rank) noexcept;
  [[nodiscard]] bool any_returned() const noexcept;
  [[nodiscard]] bool has_returned(int rank) const noexcept;

  void note_progress() noexcept;
  /// Whether no rank has got anywhere for the time allowed.
  [[nodiscard]] bool out_of_patience() const noexcept;
  [[nodiscard]] std::int64_t patience_ms() const noexcept { return patience_.count(); }

  /// The seats of an open request of `rank`, for error messages. They stay as they are until
  /// closed.
  void open(int rank, const std::vector<Seat>& seats);
  void close(int rank, const std::vector<Seat>& seats) noexcept;

  /// The rank that failed first, or -1; and why.
  [[nodiscard]] int culprit() const;
  [[nodiscard]] std::string reason() const;

 private:
  struct Rank {
    std::atomic<bool> returned = false;
    mutable std::mutex mutex;
    std::vector<const std::vector<Seat>*> open;
  };

  [[nodiscard]] std::string who_waits_where() const;

  std::deque<Rank> ranks_;
  std::chrono::milliseconds patience_;
  std::atomic<std::chrono::steady_clock::rep> last_progress_;
  std::atomic<bool> any_returned_ = false;
  std::atomic<bool> failed_ = false;
  mutable std::mutex mutex_;  ///< guards the two below
  int culprit_ = -1;
  std::string reason_;
};

}  // namespace alpa
