#include "alpa/runtime/last_exit.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/runtime/heartbeat.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kLimit = std::uintmax_t{1} << 26U;  // exit.yaml has lines for each rank
constexpr int kTolerated = 3;
constexpr std::string_view kRestartsMagic = "alpa-restarts 1";

/// A string in double quotes that JSON and YAML read alike.
std::string json_string(std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += hex[byte >> 4U];
      out += hex[byte & 15U];
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::optional<std::string> json_value(std::string_view text) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return std::nullopt;
  text = text.substr(1, text.size() - 2);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
    } else if (++i == text.size()) {
      return std::nullopt;
    } else if (text[i] == 'n') {
      out += '\n';
    } else if (text[i] == 'u' && i + 4 < text.size()) {
      int value = 0;
      std::from_chars(text.data() + i + 1, text.data() + i + 5, value, 16);
      out += static_cast<char>(value);
      i += 4;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// Value of "key: value" at the start of `text`, which then loses the line.
std::optional<std::string_view> take_line(std::string_view& text, std::string_view key) {
  const std::string_view line = text.substr(0, text.find('\n'));
  if (!line.starts_with(key)) return std::nullopt;
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line.substr(key.size());
}

template <class Number>
bool read_number(std::optional<std::string_view> text, Number& value) {
  if (!text) return false;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() && end == text->data() + text->size();
}

std::optional<std::string> content(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return std::nullopt;
  try {
    return read_file(path, kLimit);
  } catch (const SystemError&) {
    return std::string();
  }
}

LastExit from_record(const ExitRecord& record) {
  const auto code = static_cast<ExitCode>(record.code);
  const bool orderly = code == ExitCode::done || code == ExitCode::stopped;
  // What the user must mend first is no crash: it must not use up the restarts.
  constexpr std::array kUsers = {ExitCode::usage,         ExitCode::no_plan,
                                 ExitCode::run_directory, ExitCode::configuration,
                                 ExitCode::no_progress,   ExitCode::input_missing};
  const bool users = std::find(kUsers.begin(), kUsers.end(), code) != kUsers.end();
  const std::string cause = "exit code " + std::to_string(record.code) + " on rank " +
                            std::to_string(record.rank) + " at step " +
                            std::to_string(record.step) + ": " + record.reason;
  return {orderly ? LastExit::Kind::orderly
                  : (users ? LastExit::Kind::terminated : LastExit::Kind::failed),
          cause};
}

/// Nothing wrote exit.yaml: every rank was killed. Those that the launcher ended have the mark.
LastExit from_heartbeats(const std::vector<Heartbeat>& beats) {
  if (beats.empty()) return {};
  std::vector<Heartbeat> lost;
  for (const Heartbeat& beat : beats) {
    if (beat.state == Heartbeat::State::running) lost.push_back(beat);
  }
  if (lost.empty()) return {LastExit::Kind::terminated, "ended by SIGTERM or SIGINT"};
  // With all of them lost (the hosts went down, the launcher was killed) any name would be a guess.
  const std::string all =
      "all " + std::to_string(beats.size()) + " ranks were lost at once; first ";
  const Heartbeat& named = lost[*least_progress(lost)];
  const bool several = lost.size() == beats.size() && beats.size() > 1;
  return {LastExit::Kind::failed, several ? all + describe(named) : "lost " + describe(named)};
}

struct Restarts {
  std::int64_t step = -1;
  std::vector<std::string> causes;
};

Restarts read_restarts(const fs::path& path) {
  Restarts restarts;
  const auto text = content(path);
  if (!text) return restarts;
  std::string_view rest = *text;
  if (!take_line(rest, kRestartsMagic)) return restarts;
  if (!read_number(take_line(rest, "step: "), restarts.step)) return {};
  while (const auto line = take_line(rest, "cause: ")) {
    if (auto cause = json_value(*line)) restarts.causes.push_back(*std::move(cause));
  }
  return restarts;
}

std::string to_file(const Restarts& restarts) {
  std::string text =
      std::string(kRestartsMagic) + "\nstep: " + std::to_string(restarts.step) + "\n";
  for (const std::string& cause : restarts.causes) text += "cause: " + json_string(cause) + "\n";
  return text;
}

[[noreturn]] void no_progress(const Restarts& restarts, const fs::path& path) {
  std::string text = std::to_string(restarts.causes.size()) +
                     " runs in a row failed without getting beyond the state after step " +
                     std::to_string(restarts.step) + ":";
  for (const std::string& cause : restarts.causes) text += "\n  " + cause;
  throw UserError(
      text + "\nRemove the cause, then " + printable(path.string()) + ", and start again",
      ExitCode::no_progress);
}

}  // namespace

std::string to_yaml(const ExitRecord& record) {
  return "code: " + std::to_string(record.code) + "\nreason: " + json_string(record.reason) +
         "\nstep: " + std::to_string(record.step) + "\nrank: " + std::to_string(record.rank) + "\n";
}

std::optional<ExitRecord> parse_exit_record(std::string_view text) {
  ExitRecord record;
  if (!read_number(take_line(text, "code: "), record.code)) return std::nullopt;
  const auto reason = take_line(text, "reason: ");
  auto plain = reason ? json_value(*reason) : std::nullopt;
  if (!plain) return std::nullopt;
  record.reason = *std::move(plain);
  if (!read_number(take_line(text, "step: "), record.step)) return std::nullopt;
  if (!read_number(take_line(text, "rank: "), record.rank)) return std::nullopt;
  return record;
}

bool record_exit(const fs::path& run_directory, const ExitRecord& record) noexcept {
  const fs::path path = run_directory / "exit.yaml";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return errno != EEXIST;
  const std::string text = to_yaml(record);
  // A full disk leaves the message on stderr, which matters more.
  [[maybe_unused]] const ssize_t written = ::write(fd, text.data(), text.size());
  ::close(fd);
  return true;
}

LastExit cause_of_last_exit(const fs::path& run_directory) {
  const auto text = content(run_directory / "exit.yaml");
  const auto record = text ? parse_exit_record(*text) : std::nullopt;
  if (record) return from_record(*record);
  return from_heartbeats(read_heartbeats(run_directory));
}

LastExit note_start(const fs::path& run_directory, std::int64_t resumed_step) {
  const LastExit last = cause_of_last_exit(run_directory);
  const fs::path path = run_directory / "restarts";
  Restarts restarts = read_restarts(path);
  if (last.kind == LastExit::Kind::orderly || restarts.step != resumed_step) {
    restarts = {.step = resumed_step, .causes = {}};
  } else if (last.kind == LastExit::Kind::failed) {
    restarts.causes.push_back(last.cause);
  }
  replace_file(path, to_file(restarts));
  ::unlink((run_directory / "exit.yaml").c_str());
  remove_heartbeats(run_directory);
  if (restarts.causes.size() >= kTolerated) no_progress(restarts, path);
  return last;
}

}  // namespace alpa
