#include "alpa/storage/run_lock.hpp"

#include <array>
#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <signal.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/storage/file.hpp"

#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

using namespace std::chrono_literals;

/// A lock of a process on another host, last renewed `seconds` ago.
void leave_lock(const TemporaryDirectory& folder, const std::string& host, int seconds) {
  replace_file(folder / "lock", std::string_view("alpa-lock 1\nhost " + host +
                                                 "\nboot x\npid 4242\nstarted 1\njob 77\n"));
  const timespec then{.tv_sec = ::time(nullptr) - seconds, .tv_nsec = 0};
  const timespec times[2] = {then, then};
  ASSERT_EQ(::utimensat(AT_FDCWD, (folder / "lock").c_str(), times, 0), 0);
}

/// Takes the lock in another process that lives until it is killed.
pid_t hold_in_child(const TemporaryDirectory& folder) {
  int ready[2];
  if (::pipe(ready) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    const RunLock lock(folder.path(), this_process("123"));
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  return child;
}

std::string message_of(const TemporaryDirectory& folder, RunLockOptions options = {}) {
  try {
    const RunLock lock(folder.path(), this_process(""), options);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::run_directory);
    return error.what();
  }
}

TEST(RunLock, IsRemovedAtItsEnd) {
  const TemporaryDirectory folder;
  {
    const RunLock lock(folder.path(), this_process("1"));
    EXPECT_TRUE(std::filesystem::exists(folder / "lock"));
    EXPECT_FALSE(lock.taken_over());
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "lock"));
}

TEST(RunLock, ASecondProcessStopsNamingTheHolder) {
  const TemporaryDirectory folder;
  const pid_t child = hold_in_child(folder);
  const std::string message = message_of(folder);
  EXPECT_NE(message.find("process " + std::to_string(child)), std::string::npos) << message;
  EXPECT_NE(message.find(this_process("").host), std::string::npos) << message;
  EXPECT_NE(message.find("job 123"), std::string::npos) << message;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST(RunLock, OfAKilledProcessIsTakenOverAtOnce) {
  const TemporaryDirectory folder;
  const pid_t child = hold_in_child(folder);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const RunLock lock(folder.path(), this_process(""));
  ASSERT_TRUE(lock.taken_over());
  EXPECT_EQ(lock.taken_over()->pid, child);
}

TEST(RunLock, AReusedPidIsNotTheHolder) {
  const TemporaryDirectory folder;
  LockHolder earlier = this_process("");
  earlier.started += "0";
  {
    const RunLock lock(folder.path(), earlier);
    EXPECT_EQ(message_of(folder), "");
    EXPECT_EQ(this_process("").pid, earlier.pid);
  }
}

TEST(RunLock, OnAnotherHostLivesWhileItIsRenewed) {
  const TemporaryDirectory folder;
  leave_lock(folder, "elsewhere", 50);
  const std::string message = message_of(folder);
  EXPECT_NE(message.find("process 4242 on host elsewhere, job 77"), std::string::npos) << message;
  leave_lock(folder, "elsewhere", 61);
  EXPECT_EQ(message_of(folder), "");
}

TEST(RunLock, AnUnreadableLockIsHeldUntilItIsOld) {
  const TemporaryDirectory folder;
  replace_file(folder / "lock", std::string_view("alpa-lock 1\nhost =\n\x1b[2J"));
  EXPECT_NE(message_of(folder).find("unreadable lock"), std::string::npos);
  std::this_thread::sleep_for(30ms);
  EXPECT_EQ(message_of(folder, {.renew_every = 10s, .dead_after = 10ms}), "");
}

TEST(RunLock, IsRenewedAndNoticesItsLoss) {
  const TemporaryDirectory folder;
  const RunLock lock(folder.path(), this_process(""), {.renew_every = 5ms, .dead_after = 60s});
  const timespec old[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (folder / "lock").c_str(), old, 0), 0);
  struct stat info{};
  for (int i = 0; i < 400 && info.st_mtim.tv_sec <= 1; ++i) {
    std::this_thread::sleep_for(5ms);
    ASSERT_EQ(::stat((folder / "lock").c_str(), &info), 0);
  }
  EXPECT_GT(info.st_mtim.tv_sec, 1);
  EXPECT_FALSE(lock.lost());
  leave_lock(folder, "thief", 0);
  for (int i = 0; i < 400 && !lock.lost(); ++i) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(lock.lost());
}

TEST(RunLock, IsLostWhenSomebodyRemovesIt) {
  const TemporaryDirectory folder;
  const RunLock lock(folder.path(), this_process(""), {.renew_every = 5ms, .dead_after = 60s});
  std::filesystem::remove(folder / "lock");
  for (int i = 0; i < 400 && !lock.lost(); ++i) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(lock.lost());
}

TEST(RunLock, OneOfManyContendersTakesADeadLock) {
  const TemporaryDirectory folder;
  leave_lock(folder, "elsewhere", 100);
  std::array<pid_t, 6> children{};
  for (pid_t& child : children) {
    child = ::fork();
    if (child == 0) {
      try {
        const RunLock lock(folder.path(), this_process(""));
        std::this_thread::sleep_for(400ms);
        ::_exit(0);
      } catch (const Error&) {
        ::_exit(73);
      }
    }
  }
  int winners = 0;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    winners += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
  }
  EXPECT_EQ(winners, 1);
}

TEST(RunLock, AFolderThatCannotBeWrittenIsToldAtTheStart) {
  try {
    const RunLock lock("/proc", this_process(""));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::run_directory);
    EXPECT_NE(std::string(error.what()).find("errno"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace alpa
