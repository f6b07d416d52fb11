#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include "alpa/config/training_config.hpp"

namespace alpa {

/// log.txt of a run: appended to, a time stamp (UTC) before each line, control bytes escaped so
/// that no name can forge a line. A disk that fails gives one warning on stderr and the run goes
/// on. Any thread may write.
class Log {
 public:
  /// Writes nowhere until open() is called.
  Log() = default;
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// Appends to this file, after what was written before it was known.
  void open(const std::filesystem::path& path);

  /// From now on only lines of this level or above; warnings in colour if `color`.
  void configure(LogLevel level, bool color);
  [[nodiscard]] bool shows(LogLevel level) const { return level >= level_; }

  void trace(std::string_view text);
  void debug(std::string_view text);
  void info(std::string_view text);
  /// Also goes to stderr.
  void warning(std::string_view text);
  /// Several lines of the program's own making, such as a table; each is escaped by itself.
  void block(std::string_view lines);

 private:
  void put(LogLevel level, std::string_view text);

  std::mutex mutex_;
  int fd_ = -1;
  std::string early_;
  bool warned_ = false;
  LogLevel level_ = LogLevel::info;
  bool color_ = false;
};

}  // namespace alpa
