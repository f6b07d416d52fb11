#include "alpa/runtime/heartbeat.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <tuple>
#include <unistd.h>

#include "alpa/base/error.hpp"
#include "alpa/storage/escape.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 7> kPhases = {"init",     "plan",       "load",    "train",
                                                     "evaluate", "checkpoint", "finalize"};
constexpr std::array<std::string_view, 3> kStates = {"running   ", "terminated", "done      "};
constexpr std::string_view kMagic = "alpa-heartbeat 1 ";  // the state follows, of fixed width
constexpr std::string_view kEnd = "end\n";

/// Of mark_terminated, which may use neither locks nor the heap.
std::array<char, 4096> marked_path{};
volatile std::sig_atomic_t marked = 0;

std::string fixed(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3f", value);
  return text.data();
}

/// At most `limit` bytes of printable text.
std::string cut(std::string_view text, std::size_t limit) {
  std::string out = printable(text);
  if (out.size() > limit) out.resize(limit);
  return printable(out);  // a character cut in two becomes visible bytes
}

template <class Number>
bool read_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

template <class Enum, std::size_t n>
bool read_enum(std::string_view text, const std::array<std::string_view, n>& names, Enum& value) {
  const auto it = std::find(names.begin(), names.end(), text);
  if (it == names.end()) return false;
  value = static_cast<Enum>(it - names.begin());
  return true;
}

bool read_field(std::string_view key, std::string_view value, Heartbeat& beat) {
  if (key == "rank") return read_number(value, beat.rank) && beat.rank >= 0;
  if (key == "phase") return read_enum(value, kPhases, beat.phase);
  if (key == "step") return read_number(value, beat.step);
  if (key == "call") return read_number(value, beat.call);
  if (key == "instruction") return read_number(value, beat.instruction);
  if (key == "ticks") return read_number(value, beat.ticks);
  if (key == "idle") return read_number(value, beat.idle);
  if (key == "polling") {
    beat.polling = value == "1";
    return true;
  }
  if (key == "host") beat.host = printable(value);
  if (key == "doing") beat.doing = printable(value);
  return key == "host" || key == "doing";
}

double modified(const struct stat& info) {
  return static_cast<double>(info.st_mtim.tv_sec) +
         1e-9 * static_cast<double>(info.st_mtim.tv_nsec);
}

struct Found {
  Heartbeat beat;
  double time = 0.0;
};

/// Opens anew for each look: that is what makes network file systems fetch what others wrote.
std::optional<Found> read_one(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  std::array<char, kHeartbeatSize> bytes{};
  struct stat info{};
  const bool is_file = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const ssize_t size = is_file ? ::read(fd, bytes.data(), bytes.size()) : -1;
  ::close(fd);
  if (size != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  auto beat = parse_heartbeat({bytes.data(), bytes.size()});
  if (!beat) return std::nullopt;
  return Found{*std::move(beat), modified(info)};
}

bool is_heartbeat_name(const std::string& name) {
  return name.starts_with("rank_") && name.size() > 5 &&
         name.find_first_not_of("0123456789", 5) == std::string::npos;
}

std::vector<fs::path> heartbeat_files(const fs::path& run_directory) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::directory_iterator it(run_directory / "heartbeat", error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    if (is_heartbeat_name(it->path().filename().string())) files.push_back(it->path());
  }
  return files;
}

bool write_bytes(const fs::path& path, std::string_view text) {
  const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
  int fd = ::open(path.c_str(), flags, 0644);
  if (fd < 0 && errno == ENOENT) {
    ::mkdir(path.parent_path().c_str(), 0755);
    fd = ::open(path.c_str(), flags, 0644);
  }
  if (fd < 0) return false;
  const bool written =
      ::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  return ::close(fd) == 0 && written;
}

}  // namespace

std::string to_string(RunPhase phase) {
  return std::string(kPhases.at(static_cast<std::size_t>(phase)));
}

std::string to_text(const Heartbeat& beat) {
  std::string text(kMagic);
  text += kStates.at(static_cast<std::size_t>(beat.state));
  text += "\nrank " + std::to_string(beat.rank);
  text += "\nhost " + cut(beat.host, 60);
  text += "\nphase " + to_string(beat.phase);
  text += "\nstep " + std::to_string(beat.step);
  text += "\ncall " + std::to_string(beat.call);
  text += "\ninstruction " + std::to_string(beat.instruction);
  text += "\nticks " + std::to_string(beat.ticks);
  text += "\nidle " + fixed(beat.idle);
  text += beat.polling ? "\npolling 1" : "\npolling 0";
  text += "\ndoing ";
  const std::size_t room = kHeartbeatSize - text.size() - kEnd.size() - 1;
  // printable() turns a cut character of up to three bytes into twelve
  text += cut(beat.doing, room - 9) + "\n";
  text.append(kHeartbeatSize - kEnd.size() - text.size(), '\n');
  text += kEnd;
  return text;
}

std::optional<Heartbeat> parse_heartbeat(std::string_view text) {
  if (text.size() != kHeartbeatSize || !text.starts_with(kMagic) || !text.ends_with(kEnd)) {
    return std::nullopt;
  }
  Heartbeat beat;
  const std::size_t width = kStates[0].size();
  if (!read_enum(text.substr(kMagic.size(), width), kStates, beat.state)) return std::nullopt;
  text.remove_prefix(kMagic.size() + width + 1);
  text.remove_suffix(kEnd.size());
  int fields = 0;
  while (!text.empty() && text.front() != '\n') {
    const std::string_view line = text.substr(0, text.find('\n'));
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos ||
        !read_field(line.substr(0, blank), line.substr(blank + 1), beat)) {
      return std::nullopt;
    }
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++fields;
  }
  constexpr int kFields = 10;
  return fields == kFields ? std::optional(beat) : std::nullopt;
}

fs::path heartbeat_path(const fs::path& run_directory, int rank) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "rank_%05d", rank);
  return run_directory / "heartbeat" / name.data();
}

bool write_heartbeat(const fs::path& run_directory, const Heartbeat& heartbeat) noexcept {
  return write_bytes(heartbeat_path(run_directory, heartbeat.rank), to_text(heartbeat));
}

std::vector<Heartbeat> read_heartbeats(const fs::path& run_directory) {
  std::vector<Found> found;
  for (const fs::path& file : heartbeat_files(run_directory)) {
    if (auto one = read_one(file)) found.push_back(*std::move(one));
  }
  double newest = 0.0;
  for (const Found& one : found) newest = std::max(newest, one.time);
  std::vector<Heartbeat> beats;
  for (Found& one : found) {
    one.beat.age = newest - one.time;
    beats.push_back(std::move(one.beat));
  }
  std::sort(beats.begin(), beats.end(),
            [](const Heartbeat& a, const Heartbeat& b) { return a.rank < b.rank; });
  return beats;
}

void remove_heartbeats(const fs::path& run_directory) {
  for (const fs::path& file : heartbeat_files(run_directory)) ::unlink(file.c_str());
}

std::optional<std::size_t> least_progress(std::span<const Heartbeat> beats, double stale_after) {
  const auto key = [&](const Heartbeat& b) {
    const bool alive = b.age <= stale_after;
    return std::tuple(alive, alive ? 0.0 : -b.age, b.step, b.polling, b.phase, -b.idle, b.rank);
  };
  std::optional<std::size_t> least;
  for (std::size_t i = 0; i < beats.size(); ++i) {
    if (beats[i].state != Heartbeat::State::running) continue;
    if (!least || key(beats[i]) < key(beats[*least])) least = i;
  }
  return least;
}

std::string describe(const Heartbeat& beat) {
  std::string text = "rank " + std::to_string(beat.rank);
  if (!beat.host.empty()) text += " on host " + beat.host;
  text += ": " + to_string(beat.phase);
  if (beat.step > 0) text += ", step " + std::to_string(beat.step);
  if (!beat.doing.empty()) text += ", " + beat.doing;
  return text;
}

void set_marked_heartbeat(const fs::path& run_directory, int rank) {
  const std::string path = fs::absolute(heartbeat_path(run_directory, rank)).string();
  if (path.size() + 1 > marked_path.size()) return;
  std::memcpy(marked_path.data(), path.c_str(), path.size() + 1);
}

void mark_terminated() noexcept {
  marked = 1;
  if (marked_path[0] == '\0') return;
  const int fd = ::open(marked_path.data(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return;
  const std::string_view state = kStates[1];
  // Nothing can be done about a failure here: the process is about to end.
  [[maybe_unused]] const ssize_t written =
      ::pwrite(fd, state.data(), state.size(), static_cast<off_t>(kMagic.size()));
  ::close(fd);
}

bool marked_terminated() noexcept { return marked != 0; }

}  // namespace alpa
