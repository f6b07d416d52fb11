#include "alpa/runtime/signals.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>

#include "alpa/runtime/heartbeat.hpp"

namespace alpa {
namespace {

volatile std::sig_atomic_t stop_requested = 0;
volatile std::sig_atomic_t save_requested = 0;

extern "C" void on_stop(int) { stop_requested = 1; }
extern "C" void on_save(int) { save_requested = 1; }
/// Installed with SA_RESETHAND and without blocking: the signal sent again has its default action.
extern "C" void on_end(int signal) {
  mark_terminated();
  ::raise(signal);
}

void handle(int signal, void (*handler)(int), int flags) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = flags;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
}

double seconds_on(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Seconds that this process has run; 0 where /proc does not tell.
double process_age() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t end = line.rfind(')');  // the command may hold blanks
  if (end == std::string::npos) return 0.0;
  std::istringstream rest(line.substr(end + 1));
  std::string field;
  for (int i = 0; i < 20; ++i) rest >> field;  // the start time is field 22 of the line
  double ticks = 0.0;
  const auto [stop, error] = std::from_chars(field.data(), field.data() + field.size(), ticks);
  if (error != std::errc() || stop != field.data() + field.size()) return 0.0;
  const double started = ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return std::max(0.0, seconds_on(CLOCK_BOOTTIME) - started);
}

}  // namespace

void install_signal_handlers() {
  handle(SIGUSR1, on_stop, SA_RESTART);
  handle(SIGUSR2, on_save, SA_RESTART);
  const int once = static_cast<int>(SA_RESETHAND) | SA_NODEFER;
  handle(SIGTERM, on_end, once);
  handle(SIGINT, on_end, once);
  handle(SIGPIPE, SIG_IGN, 0);
}

SignalRequests signal_requests() noexcept {
  return {.stop = stop_requested != 0, .save = save_requested != 0};
}

void clear_save_request() noexcept { save_requested = 0; }

bool protect_standard_streams() {
  bool stdout_closed = false;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // open() takes the lowest free number, which is this one: those below are open by now.
    ::open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
    stdout_closed |= fd == STDOUT_FILENO;
  }
  return stdout_closed;
}

TimeLimit TimeLimit::after_start(Seconds duration) {
  TimeLimit limit;
  limit.end_ = seconds_on(CLOCK_REALTIME) - process_age() + duration.value;
  return limit;
}

TimeLimit TimeLimit::of_job(const Environment& environment) {
  TimeLimit limit;
  const auto text = environment("SLURM_JOB_END_TIME");
  if (!text) return limit;
  std::int64_t end = 0;
  const auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), end);
  const bool valid = error == std::errc() && stop == text->data() + text->size() && end > 0;
  if (valid) limit.end_ = static_cast<double>(end);
  return limit;
}

std::optional<Seconds> TimeLimit::remaining() const {
  if (!end_) return std::nullopt;
  return Seconds{*end_ - seconds_on(CLOCK_REALTIME)};
}

bool must_stop(std::optional<Seconds> remaining, Seconds checkpoint, Seconds step, Seconds margin) {
  return remaining && *remaining < (checkpoint + step) * 1.5 + margin;
}

}  // namespace alpa
