#include "alpa/runtime/signals.hpp"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include "alpa/runtime/heartbeat.hpp"

#include "runtime/child.hpp"
#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

/// Ends the child with `code` if the fact does not hold.
void require(bool fact, int code) {
  if (!fact) ::_exit(code);
}

TEST(Signals, AskForSavingAndStopping) {
  const ChildEnd end = run_child([] {
    install_signal_handlers();
    require(signal_requests() == SignalRequests{}, 1);
    ::raise(SIGUSR2);
    require(signal_requests() == SignalRequests{.stop = false, .save = true}, 2);
    clear_save_request();
    require(signal_requests() == SignalRequests{}, 3);
    ::raise(SIGUSR1);
    ::raise(SIGUSR1);  // launchers deliver twice
    clear_save_request();
    require(signal_requests() == SignalRequests{.stop = true, .save = false}, 4);
  });
  EXPECT_EQ(end.code(), 0);
}

TEST(Signals, WithoutHandlersUsr1Kills) {
  EXPECT_EQ(run_child([] { ::raise(SIGUSR1); }).signal(), SIGUSR1);
}

TEST(Signals, TermAndIntEndAtOnceAndLeaveAMark) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const TemporaryDirectory run;
    const ChildEnd end = run_child([&] {
      install_signal_handlers();
      Heartbeat beat;
      beat.rank = 3;
      require(write_heartbeat(run.path(), beat), 1);
      set_marked_heartbeat(run.path(), 3);
      ::raise(signal);
    });
    EXPECT_EQ(end.signal(), signal);
    const auto beats = read_heartbeats(run.path());
    ASSERT_EQ(beats.size(), 1U);
    EXPECT_EQ(beats[0].state, Heartbeat::State::terminated);
    EXPECT_EQ(beats[0].rank, 3);
  }
}

TEST(Signals, AClosedPipeIsAnErrorNotTheEnd) {
  const ChildEnd end = run_child([] {
    install_signal_handlers();
    int ends[2];
    require(::pipe(ends) == 0, 1);
    ::close(ends[0]);
    require(::write(ends[1], "x", 1) < 0 && errno == EPIPE, 2);
  });
  EXPECT_EQ(end.code(), 0);
}

TEST(Signals, ClosedStreamsAreNotGivenToFiles) {
  const ChildEnd end = run_child([] {
    require(!protect_standard_streams(), 1);
    ::close(STDIN_FILENO);
    ::close(STDOUT_FILENO);
    require(protect_standard_streams(), 2);
    require(::open("/dev/null", O_RDONLY) > STDERR_FILENO, 3);
    require(::write(STDOUT_FILENO, "x", 1) == 1, 4);
  });
  EXPECT_EQ(end.code(), 0);
}

TEST(TimeLimit, CountsFromTheStartOfTheProcess) {
  EXPECT_EQ(TimeLimit().remaining(), std::nullopt);
  const auto left = TimeLimit::after_start({1000.0}).remaining();
  ASSERT_TRUE(left);
  EXPECT_LE(left->value, 1000.0);
  EXPECT_GT(left->value, 900.0);
  ::usleep(50'000);
  EXPECT_LE(TimeLimit::after_start({1000.0}).remaining()->value, left->value - 0.03);
}

TEST(TimeLimit, TakesTheEndOfTheSlurmJob) {
  const auto job = [](const std::string& text) {
    return TimeLimit::of_job([text](const char* name) -> std::optional<std::string> {
      if (std::string(name) == "SLURM_JOB_END_TIME") return text;
      return std::nullopt;
    });
  };
  const auto left = job(std::to_string(::time(nullptr) + 60)).remaining();
  ASSERT_TRUE(left);
  EXPECT_NEAR(left->value, 60.0, 2.0);
  EXPECT_EQ(job("UNLIMITED").remaining(), std::nullopt);
  EXPECT_EQ(job("").remaining(), std::nullopt);
  EXPECT_EQ(TimeLimit::of_job([](const char*) { return std::nullopt; }).remaining(), std::nullopt);
}

TEST(TimeLimit, StopsWhileACheckpointStillFits) {
  const Seconds checkpoint{10.0};
  const Seconds step{2.0};
  const Seconds margin{5.0};
  EXPECT_FALSE(must_stop(std::nullopt, checkpoint, step, margin));
  EXPECT_FALSE(must_stop(Seconds{23.1}, checkpoint, step, margin));  // 1.5 * 12 + 5 = 23
  EXPECT_TRUE(must_stop(Seconds{22.9}, checkpoint, step, margin));
  EXPECT_TRUE(must_stop(Seconds{-1.0}, {}, {}, {}));
}

}  // namespace
}  // namespace alpa
