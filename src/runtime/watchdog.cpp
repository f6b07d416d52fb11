#include "alpa/runtime/watchdog.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <fstream>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/runtime/last_exit.hpp"
#include "alpa/storage/escape.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr double kStaleAfter = 5.0;  ///< intervals without a heartbeat: the rank does not live
constexpr double kSilence = 3.0;     ///< intervals that the others leave to the rank that speaks
constexpr double kPause = 2.0;       ///< intervals missed: this process was stopped
constexpr double kEndWithin = 5.0;   ///< intervals that ending the job may take
/// A rank that polls sleeps hundreds of times a second; one that hangs, or computes, hardly ever.
constexpr double kPollsPerSecond = 20.0;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// How often the thread has gone to sleep of its own accord.
std::int64_t sleeps_of(int thread) {
  std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
  constexpr std::string_view key = "voluntary_ctxt_switches:";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::atoll(line.c_str() + key.size());
  }
  return 0;
}

/// What must change for a rank to count as getting on.
struct Progress {
  RunPhase phase = RunPhase::init;
  std::int64_t step = 0;
  std::uint64_t alive = 0;
  std::uint64_t ticks = 0;
  friend bool operator==(const Progress&, const Progress&) = default;
};

std::string rounded(double seconds) { return std::to_string(static_cast<std::int64_t>(seconds)); }

void sleep_for(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

std::string hang_message(const Heartbeat& culprit, double idle, double stale_after) {
  std::string text = "no rank has made progress for " + rounded(idle) + " s; " + describe(culprit) +
                     " keeps the others waiting";
  if (culprit.age > stale_after) {
    text += " (so it said " + rounded(culprit.age) + " s ago; no sign of life since)";
  }
  return text + ". Start again; if that work takes so long, raise training.watchdog";
}

[[noreturn]] void end_process(const WatchdogOptions& options) {
  const int code = static_cast<int>(ExitCode::rank_lost);
  if (options.end) {
    // the library that hangs may be the one that is asked to end the job
    std::thread([end = options.end, code] { end(code); }).detach();
    sleep_for(kEndWithin * options.interval.value);
  }
  ::_exit(code);
}

}  // namespace

struct Watchdog::State {
  std::mutex mutex;
  std::condition_variable wake;
  WatchdogOptions options;
  bool stopping = false;
  std::atomic<std::uint64_t> alive{0};
  RunPhase phase = RunPhase::init;
  std::int64_t step = 0;
  const Position* position = nullptr;
  Describe describe;
  fs::path run_directory;
  bool beat_now = false;
  const int main_thread = ::gettid();
  const int exceptions = std::uncaught_exceptions();
  std::thread thread;

  // of the watchdog's thread alone
  Progress last;
  Clock::time_point since = Clock::now();  ///< of the last progress
  Clock::time_point looked = Clock::now();
  std::int64_t sleeps = 0;
  bool polling = false;

  [[nodiscard]] std::string doing() const {
    return position != nullptr && describe ? describe(*position) : "";
  }

  /// This rank as it is; the mutex is held.
  [[nodiscard]] Heartbeat beat() const {
    Heartbeat b;
    b.rank = options.rank;
    b.host = options.host;
    b.phase = phase;
    b.step = step;
    if (position != nullptr) {
      b.call = position->call.load(std::memory_order_relaxed);
      b.instruction = position->instruction.load(std::memory_order_relaxed);
      b.ticks = position->ticks.load(std::memory_order_relaxed);
    }
    b.polling = polling;
    b.doing = doing();
    return b;
  }

  void observe(const Heartbeat& b, Clock::time_point now) {
    const double elapsed = seconds_between(looked, now);
    const double stopped = elapsed - options.interval.value;
    if (stopped > kPause * options.interval.value) {  // this process was stopped, not hanging
      since += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(stopped));
    }
    const Progress progress{b.phase, b.step, alive.load(std::memory_order_relaxed), b.ticks};
    if (progress != last) since = now;
    last = progress;
    if (elapsed > 0.5 * options.interval.value) {
      const std::int64_t count = sleeps_of(main_thread);
      polling =
          static_cast<double>(count - std::exchange(sleeps, count)) > kPollsPerSecond * elapsed;
      looked = now;
    }
  }

  void run() {
    std::unique_lock held(mutex);
    while (!stopping) {
      Heartbeat b = beat();
      const Clock::time_point now = Clock::now();
      observe(b, now);
      b.polling = polling;
      b.idle = seconds_between(since, now);
      const fs::path directory = run_directory;
      const WatchdogOptions current = options;
      beat_now = false;
      held.unlock();
      if (!directory.empty()) {
        if (marked_terminated()) b.state = Heartbeat::State::terminated;
        write_heartbeat(directory, b);
      }
      if (current.patience.value > 0 && b.idle > current.patience.value)
        judge(b, directory, current);
      held.lock();
      wake.wait_for(held, std::chrono::duration<double>(current.interval.value),
                    [&] { return stopping || beat_now; });
    }
  }

  /// This rank stands still: ends the job unless another one gets on.
  static void judge(const Heartbeat& own, const fs::path& directory,
                    const WatchdogOptions& options) {
    std::vector<Heartbeat> beats;
    if (!directory.empty()) beats = read_heartbeats(directory);
    const bool known = std::any_of(beats.begin(), beats.end(),
                                   [&](const Heartbeat& b) { return b.rank == own.rank; });
    if (!known) beats.push_back(own);
    const double stale_after = kStaleAfter * options.interval.value;
    const auto lives = [&](const Heartbeat& b) {
      return b.state == Heartbeat::State::running && b.age <= stale_after;
    };
    for (const Heartbeat& b : beats) {
      if (lives(b) && b.idle < options.patience.value) return;
    }
    const Heartbeat& culprit = beats[least_progress(beats, stale_after).value_or(0)];
    const auto speaker =
        lives(culprit) ? culprit.rank : std::find_if(beats.begin(), beats.end(), lives)->rank;
    if (speaker != own.rank) sleep_for(kSilence * options.interval.value);
    give_up(own, culprit, directory, options);
  }

  [[noreturn]] static void give_up(const Heartbeat& own, const Heartbeat& culprit,
                                   const fs::path& directory, const WatchdogOptions& options) {
    const std::string reason =
        hang_message(culprit, own.idle, kStaleAfter * options.interval.value);
    const ExitRecord record{.code = static_cast<int>(ExitCode::rank_lost),
                            .reason = reason,
                            .step = own.step,
                            .rank = culprit.rank};
    if (directory.empty() || record_exit(directory, record)) {
      std::string text = "alpa: watchdog of rank " + std::to_string(own.rank);
      if (!own.host.empty()) text += ", host " + printable(own.host);
      text += ": " + reason + "\n";
      [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    }
    end_process(options);
  }
};

Watchdog::Watchdog(WatchdogOptions options) : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
  state_->sleeps = sleeps_of(state_->main_thread);
  // Signals are for the main thread, whose system calls they are to interrupt.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard held(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  state_->thread.join();
  if (state_->run_directory.empty() || std::uncaught_exceptions() > state_->exceptions) return;
  Heartbeat last = state_->beat();
  last.state = Heartbeat::State::done;
  write_heartbeat(state_->run_directory, last);
}

void Watchdog::enter(RunPhase phase, std::int64_t step) {
  const std::lock_guard held(state_->mutex);
  state_->phase = phase;
  state_->step = step;
}

void Watchdog::alive() noexcept { state_->alive.fetch_add(1, std::memory_order_relaxed); }

void Watchdog::watch(const Position& position, Describe describe) {
  const std::lock_guard held(state_->mutex);
  state_->position = &position;
  state_->describe = std::move(describe);
}

void Watchdog::unwatch() {
  const std::lock_guard held(state_->mutex);
  state_->position = nullptr;
  state_->describe = nullptr;
}

void Watchdog::set_patience(Seconds patience) {
  const std::lock_guard held(state_->mutex);
  state_->options.patience = patience;
}

void Watchdog::set_rank(int rank, std::string host) {
  const std::lock_guard held(state_->mutex);
  state_->options.rank = rank;
  state_->options.host = std::move(host);
}

void Watchdog::set_end(std::function<void(int)> end) {
  const std::lock_guard held(state_->mutex);
  state_->options.end = std::move(end);
}

void Watchdog::write_heartbeats(const fs::path& run_directory) {
  {
    const std::lock_guard held(state_->mutex);
    state_->run_directory = run_directory;
    state_->beat_now = true;
    set_marked_heartbeat(run_directory, state_->options.rank);
  }
  state_->wake.notify_all();
}

std::string Watchdog::where() const {
  // For messages of failures, which may come while the mutex is held for ever.
  std::unique_lock held(state_->mutex, std::try_to_lock);
  for (int i = 0; i < 50 && !held.owns_lock() && !held.try_lock(); ++i) sleep_for(0.01);
  if (!held.owns_lock()) return "";
  std::string text = to_string(state_->phase);
  if (state_->step > 0) text += ", step " + std::to_string(state_->step);
  const std::string doing = state_->doing();
  return doing.empty() ? text : text + ", " + doing;
}

std::string describe(const Program& program, const Position& position) {
  const int c = position.call.load(std::memory_order_relaxed);
  const int i = position.instruction.load(std::memory_order_relaxed);
  if (c < 0 || static_cast<std::size_t>(c) >= program.calls.size()) return "";
  const Call& call = program.calls[static_cast<std::size_t>(c)];
  const Segment& segment = program.segments.at(static_cast<std::size_t>(call.segment));
  if (i < 0 || static_cast<std::size_t>(i) >= segment.instructions.size()) return "";
  return segment.name + " of microbatch " + std::to_string(call.microbatch) + ", instruction " +
         std::to_string(i) + " " + segment.instructions[static_cast<std::size_t>(i)].name;
}

}  // namespace alpa
