#pragma once

#include <csignal>
#include <cstdlib>
#include <functional>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace alpa {

/// How a child process ended, and what it said on stderr.
struct ChildEnd {
  int status = 0;
  std::string said;
  [[nodiscard]] int code() const { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
  [[nodiscard]] int signal() const { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }
};

/// A process that runs `body` as a program would: what nobody catches ends it by std::terminate,
/// coming to the end is code 0. Killed and waited for at the latest when this ends.
class Child {
 public:
  explicit Child(const std::function<void()>& body) {
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      const rlimit no_core{0, 0};
      ::setrlimit(RLIMIT_CORE, &no_core);
      ::close(pipe_ends[0]);
      ::dup2(pipe_ends[1], STDERR_FILENO);
      ::close(pipe_ends[1]);
      run(body);
    }
    ::close(pipe_ends[1]);
    stderr_ = pipe_ends[0];
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(stderr_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] int pid() const { return pid_; }

  /// Waits for the end.
  ChildEnd wait() {
    ChildEnd end;
    char block[4096];
    for (ssize_t n; (n = ::read(stderr_, block, sizeof block)) > 0;) {
      end.said.append(block, static_cast<std::size_t>(n));
    }
    ::waitpid(pid_, &end.status, 0);
    pid_ = -1;
    return end;
  }

 private:
  [[noreturn]] static void run(const std::function<void()>& body) noexcept {
    body();
    ::_exit(0);
  }

  int pid_ = -1;
  int stderr_ = -1;
};

inline ChildEnd run_child(const std::function<void()>& body) { return Child(body).wait(); }

}  // namespace alpa
