#include "alpa/report/log.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

/// "2024-05-06T07:08:09.123Z"
std::string time_stamp() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> day{};
  std::strftime(day.data(), day.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%s.%03dZ", day.data(), static_cast<int>(milliseconds));
  return text.data();
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

Log::~Log() {
  if (fd_ >= 0) ::close(fd_);
}

void Log::open(const std::filesystem::path& path) {
  const std::lock_guard held(mutex_);
  if (fd_ >= 0) ::close(fd_);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd_ >= 0 && write_all(fd_, std::exchange(early_, ""))) return;
  if (std::exchange(warned_, true)) return;
  write_all(STDERR_FILENO, "alpa: warning: " + io_message("cannot write the log", path, errno) +
                               "; the run goes on without it\n");
}

void Log::configure(LogLevel level, bool color) {
  const std::lock_guard held(mutex_);
  level_ = level;
  color_ = color;
}

void Log::trace(std::string_view text) {
  const std::lock_guard held(mutex_);
  put(LogLevel::trace, text);
}

void Log::debug(std::string_view text) {
  const std::lock_guard held(mutex_);
  put(LogLevel::debug, text);
}

void Log::info(std::string_view text) {
  const std::lock_guard held(mutex_);
  put(LogLevel::info, text);
}

void Log::warning(std::string_view text) {
  const std::lock_guard held(mutex_);
  put(LogLevel::warning, text);
  if (!shows(LogLevel::warning)) return;
  const char* begin = color_ ? "\x1b[33m" : "";
  const char* end = color_ ? "\x1b[0m" : "";
  write_all(STDERR_FILENO, begin + std::string("alpa: warning: ") + end + printable(text) + "\n");
}

void Log::block(std::string_view lines) {
  const std::lock_guard held(mutex_);
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    put(LogLevel::info, line);
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
  }
}

void Log::put(LogLevel level, std::string_view text) {
  if (!shows(level)) return;
  std::string line = time_stamp() + " " + std::string(name_of(level));
  if (!text.empty()) line += " " + printable(text);
  line += "\n";
  if (fd_ < 0) {
    early_ += line;
    return;
  }
  if (write_all(fd_, line) || std::exchange(warned_, true)) return;
  write_all(STDERR_FILENO, "alpa: warning: cannot write the log (errno " + std::to_string(errno) +
                               "); the run goes on without it\n");
}

}  // namespace alpa
