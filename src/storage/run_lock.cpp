#include "alpa/storage/run_lock.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <mutex>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Fields of /proc/PID/stat after the command, which may hold blanks and brackets: state is field
/// 0, the start time field 19. Empty if there is no such process.
std::vector<std::string> process_fields(int pid) {
  const std::string line = first_line("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t end = line.rfind(')');
  if (end == std::string::npos) return {};
  std::istringstream rest(line.substr(end + 1));
  std::vector<std::string> fields;
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

std::string start_time(int pid) {
  const auto fields = process_fields(pid);
  return fields.size() > 19 ? fields[19] : "";
}

bool is_running(const LockHolder& holder) {
  if (::kill(holder.pid, 0) != 0 && errno == ESRCH) return false;
  const auto fields = process_fields(holder.pid);
  if (fields.size() <= 19) return true;  // no /proc: believe kill
  return fields[0] != "Z" && fields[0] != "X" && fields[19] == holder.started;
}

std::string to_file(const LockHolder& holder) {
  return "alpa-lock 1\nhost " + escape_name(holder.host) + "\nboot " + escape_name(holder.boot) +
         "\npid " + std::to_string(holder.pid) + "\nstarted " + escape_name(holder.started) +
         "\njob " + escape_name(holder.job) + "\n";
}

/// nullopt for a file that no such program wrote: an unreadable lock counts as held until it is
/// old.
std::optional<LockHolder> parse(const std::string& text) {
  LockHolder holder;
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || line != "alpa-lock 1") return std::nullopt;
  while (std::getline(lines, line)) {
    const std::size_t blank = line.find(' ');
    if (blank == std::string::npos) return std::nullopt;
    const std::string key = line.substr(0, blank);
    const std::string value = line.substr(blank + 1);
    if (value.find_first_not_of(
            "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-_.") !=
        std::string::npos) {
      return std::nullopt;
    }
    if (key == "host") holder.host = unescape_name(value);
    if (key == "boot") holder.boot = unescape_name(value);
    if (key == "started") holder.started = unescape_name(value);
    if (key == "job") holder.job = unescape_name(value);
    if (key == "pid") holder.pid = std::atoi(value.c_str());
  }
  return holder;
}

/// Seconds since the lock was renewed. Both times come from the file system that holds it, so that
/// clocks of two hosts need not agree.
std::chrono::nanoseconds age_of(const fs::path& lock, const fs::path& guard) {
  struct stat lock_info{};
  struct stat now{};
  ::utimensat(AT_FDCWD, guard.c_str(), nullptr, 0);
  if (::stat(lock.c_str(), &lock_info) != 0 || ::stat(guard.c_str(), &now) != 0) return {};
  return std::chrono::seconds(now.st_mtim.tv_sec - lock_info.st_mtim.tv_sec) +
         std::chrono::nanoseconds(now.st_mtim.tv_nsec - lock_info.st_mtim.tv_nsec);
}

bool is_dead(const std::optional<LockHolder>& holder, const LockHolder& self,
             std::chrono::nanoseconds age, const RunLockOptions& options) {
  const bool same_machine =
      holder && holder->host == self.host && holder->boot == self.boot && holder->pid > 0;
  return same_machine ? !is_running(*holder) : age > options.dead_after;
}

[[noreturn]] void refuse(const fs::path& directory, const std::optional<LockHolder>& holder,
                         std::chrono::nanoseconds age) {
  std::string who = "an unreadable lock file";
  if (holder) {
    who = "process " + std::to_string(holder->pid) + " on host " + printable(holder->host) +
          (holder->job.empty() ? "" : ", job " + printable(holder->job));
  }
  throw UserError(
      "run directory " + printable(directory.string()) + " is in use by " + who + " (renewed " +
          std::to_string(std::chrono::duration_cast<std::chrono::seconds>(age).count()) +
          " s ago): wait for it to end, stop it, or choose another directory with output=DIR",
      ExitCode::run_directory);
}

[[noreturn]] void cannot_write(const fs::path& path, int error_number) {
  throw UserError(
      io_message("the run directory must be writable: cannot write", path, error_number),
      ExitCode::run_directory);
}

/// Serialises those who want the lock; the kernel frees it with its process, so it is never stale.
class Guard {
 public:
  explicit Guard(const fs::path& path)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644)) {
    if (fd_ < 0) cannot_write(path, errno);
    while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~Guard() { ::close(fd_); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  int fd_;
};

bool is_gone(const fs::path& lock) {
  struct stat info{};
  return ::lstat(lock.c_str(), &info) != 0 && errno == ENOENT;
}

/// Empty if it cannot be read, which may pass.
std::string content_of(const fs::path& lock) {
  try {
    return read_file(lock, 4096);
  } catch (const SystemError&) {
    return "";
  }
}

}  // namespace

LockHolder this_process(std::string job) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::error_code error;
  const fs::path name_space = fs::read_symlink("/proc/self/ns/pid", error);
  const int pid = ::getpid();
  return {.host = host.data(),
          .boot = first_line("/proc/sys/kernel/random/boot_id") + " " + name_space.string(),
          .pid = pid,
          .started = start_time(pid),
          .job = std::move(job)};
}

struct RunLock::State {
  fs::path lock;
  fs::path guard;
  std::string content;
  milliseconds renew_every{};
  std::optional<LockHolder> taken_over;
  std::atomic<bool> lost{false};
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  std::thread renewer;

  void renew_until_stopped() {
    std::unique_lock held(mutex);
    while (!wake.wait_for(held, renew_every, [&] { return stopping; })) {
      const std::string found = content_of(lock);
      if (found == content) {
        ::utimensat(AT_FDCWD, lock.c_str(), nullptr, 0);
      } else if (!found.empty() || is_gone(lock)) {
        lost = true;
      }
    }
  }
};

RunLock::RunLock(const fs::path& directory, const LockHolder& self, RunLockOptions options)
    : state_(std::make_unique<State>()) {
  state_->lock = directory / "lock";
  state_->guard = directory / "lock.guard";
  state_->content = to_file(self);
  state_->renew_every = options.renew_every;
  const Guard guard(state_->guard);
  struct stat info{};
  if (::lstat(state_->lock.c_str(), &info) == 0) {
    const auto holder = parse(content_of(state_->lock));
    const auto age = age_of(state_->lock, state_->guard);
    if (!is_dead(holder, self, age, options)) refuse(directory, holder, age);
    state_->taken_over = holder.value_or(LockHolder{});
  }
  try {
    replace_file(state_->lock, state_->content);
  } catch (const SystemError& error) {
    throw UserError(std::string("the run directory must be writable: ") + error.what(),
                    ExitCode::run_directory);
  }
  state_->renewer = std::thread([state = state_.get()] { state->renew_until_stopped(); });
}

RunLock::~RunLock() {
  {
    const std::lock_guard held(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  state_->renewer.join();
  if (content_of(state_->lock) == state_->content) ::unlink(state_->lock.c_str());
}

const std::optional<LockHolder>& RunLock::taken_over() const { return state_->taken_over; }
bool RunLock::lost() const { return state_->lost; }

}  // namespace alpa
