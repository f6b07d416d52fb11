#include "in_process/fabric.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kShown = 4;  ///< seats of one rank in a message

Clock::rep now() noexcept { return Clock::now().time_since_epoch().count(); }

}  // namespace

Fabric::Fabric(int size, int patience_ms)
    : ranks_(static_cast<std::size_t>(size)), patience_(patience_ms), last_progress_(now()) {}

void Fabric::check_alive(int rank) const {
  if (!failed_.load(std::memory_order_acquire)) return;
  throw SystemError("rank " + std::to_string(rank) + " stops because rank " +
                        std::to_string(culprit()) + " failed: " + reason(),
                    ExitCode::rank_lost);
}

void Fabric::note_failure(int rank, const std::string& why) {
  const std::scoped_lock lock(mutex_);
  if (culprit_ >= 0) return;
  culprit_ = rank;
  reason_ = why;
  failed_.store(true, std::memory_order_release);
}

void Fabric::fail(int rank, const std::string& why) {
  const std::string text = "rank " + std::to_string(rank) + ": " + why + who_waits_where();
  note_failure(rank, text);
  throw SystemError(text, ExitCode::rank_lost);
}

void Fabric::note_return(int rank) noexcept {
  ranks_[static_cast<std::size_t>(rank)].returned.store(true, std::memory_order_release);
  any_returned_.store(true, std::memory_order_release);
}

bool Fabric::any_returned() const noexcept { return any_returned_.load(std::memory_order_acquire); }

bool Fabric::has_returned(int rank) const noexcept {
  return ranks_[static_cast<std::size_t>(rank)].returned.load(std::memory_order_acquire);
}

void Fabric::note_progress() noexcept { last_progress_.store(now(), std::memory_order_relaxed); }

bool Fabric::out_of_patience() const noexcept {
  const Clock::duration quiet(now() - last_progress_.load(std::memory_order_relaxed));
  return quiet > patience_;
}

void Fabric::open(int rank, const std::vector<Seat>& seats) {
  Rank& state = ranks_[static_cast<std::size_t>(rank)];
  const std::scoped_lock lock(state.mutex);
  state.open.push_back(&seats);
}

void Fabric::close(int rank, const std::vector<Seat>& seats) noexcept {
  Rank& state = ranks_[static_cast<std::size_t>(rank)];
  const std::scoped_lock lock(state.mutex);
  std::erase(state.open, &seats);
}

int Fabric::culprit() const {
  const std::scoped_lock lock(mutex_);
  return culprit_;
}

std::string Fabric::reason() const {
  const std::scoped_lock lock(mutex_);
  return reason_;
}

std::string Fabric::who_waits_where() const {
  std::string text;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const Rank& rank = ranks_[r];
    const std::scoped_lock lock(rank.mutex);
    std::vector<std::string> waits;
    for (const std::vector<Seat>* seats : rank.open) {
      for (const Seat& seat : *seats) {
        if (!seat.meeting->work.begun()) waits.push_back(to_text(seat));
      }
    }
    text += "\n  rank " + std::to_string(r) + " ";
    if (rank.returned.load()) {
      text += "has returned";
    } else if (waits.empty()) {
      text += "waits for nobody";
    } else {
      text += "waits in ";
      for (std::size_t i = 0; i < std::min(kShown, waits.size()); ++i) {
        text += (i > 0 ? ", " : "") + waits[i];
      }
      if (waits.size() > kShown) {
        text += " and " + std::to_string(waits.size() - kShown) + " more calls";
      }
    }
  }
  return text;
}

}  // namespace alpa
