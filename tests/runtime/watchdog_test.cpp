#include "alpa/runtime/watchdog.hpp"

#include <chrono>
#include <csignal>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/runtime/last_exit.hpp"
#include "alpa/runtime/signals.hpp"
#include "alpa/runtime/terminate.hpp"
#include "alpa/storage/file.hpp"

#include "runtime/child.hpp"
#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

using Children = std::vector<std::unique_ptr<Child>>;

WatchdogOptions quick(int rank) {
  WatchdogOptions options;
  options.patience = {0.8};
  options.interval = {0.1};
  options.rank = rank;
  options.host = "node" + std::to_string(rank);
  return options;
}

/// As a rank does that waits for others.
void poll_for(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) ::usleep(1000);
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
  return n;
}

TEST(Watchdog, EndsAProcessThatStandsStillAndSaysWhere) {
  const ChildEnd end = run_child([] {
    Watchdog watchdog(quick(3));
    Position position;
    watchdog.watch(position, [](const Position& p) {
      return "instruction " + std::to_string(p.instruction.load()) + " all_reduce grad.w1";
    });
    watchdog.enter(RunPhase::train, 20);
    position.instruction = 45;
    ::sleep(30);
  });
  EXPECT_EQ(end.code(), 75);
  EXPECT_EQ(end.said.find("alpa: watchdog of rank 3, host node3: "), 0U) << end.said;
  EXPECT_NE(
      end.said.find("rank 3 on host node3: train, step 20, instruction 45 all_reduce grad.w1"),
      std::string::npos)
      << end.said;
}

TEST(Watchdog, ProgressOfAnyKindKeepsItQuiet) {
  const ChildEnd end = run_child([] {
    Watchdog watchdog(quick(0));
    Position position;
    for (int i = 0; i < 5; ++i) {
      ::usleep(300'000);
      watchdog.alive();
    }
    for (int i = 0; i < 5; ++i) {
      ::usleep(300'000);
      watchdog.enter(RunPhase::train, i);
    }
    watchdog.watch(position, nullptr);
    for (int i = 0; i < 5; ++i) {
      ::usleep(300'000);
      ++position.ticks;
    }
  });
  EXPECT_EQ(end.code(), 0) << end.said;
  EXPECT_EQ(end.said, "");
}

TEST(Watchdog, NoPatienceMeansOff) {
  const ChildEnd end = run_child([] {
    WatchdogOptions options = quick(0);
    options.patience = {0.0};
    const Watchdog watchdog(options);
    ::usleep(1'500'000);
  });
  EXPECT_EQ(end.code(), 0) << end.said;
}

TEST(Watchdog, TimeStoppedDoesNotCount) {
  Child child([] {
    Watchdog watchdog(quick(0));
    poll_for(0.4);
    watchdog.alive();
    poll_for(0.3);
  });
  ::usleep(200'000);
  ::kill(child.pid(), SIGSTOP);
  ::usleep(1'500'000);
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.wait().code(), 0);
}

TEST(Watchdog, EndsByTheCallGivenButNotForEverInIt) {
  const ChildEnd given = run_child([] {
    WatchdogOptions options = quick(0);
    options.end = [](int code) { ::_exit(code + 1); };
    const Watchdog watchdog(options);
    ::sleep(30);
  });
  EXPECT_EQ(given.code(), 76);
  const ChildEnd hanging = run_child([] {
    WatchdogOptions options = quick(0);
    options.end = [](int) { ::sleep(30); };
    const Watchdog watchdog(options);
    ::sleep(30);
  });
  EXPECT_EQ(hanging.code(), 75);
}

/// Ranks that poll, but for one, which does `stuck`.
Children start_ranks(const std::filesystem::path& run, int ranks, int culprit,
                     const std::function<void(Watchdog&)>& stuck) {
  Children children;
  for (int rank = 0; rank < ranks; ++rank) {
    children.push_back(std::make_unique<Child>([=] {
      Watchdog watchdog(quick(rank));
      watchdog.write_heartbeats(run);
      watchdog.enter(RunPhase::train, 7);
      poll_for(0.3);
      if (rank == culprit) stuck(watchdog);
      poll_for(30);
    }));
  }
  return children;
}

TEST(Watchdog, OneOfManyNamesTheCulprit) {
  const TemporaryDirectory run;
  const Children children = start_ranks(run.path(), 4, 2, [](Watchdog&) { ::sleep(30); });
  std::string said;
  for (const auto& child : children) {
    const ChildEnd end = child->wait();
    EXPECT_EQ(end.code(), 75);
    said += end.said;
  }
  EXPECT_EQ(count(said, "watchdog of rank"), 1U) << said;
  EXPECT_NE(said.find("rank 2 on host node2: train, step 7 keeps"), std::string::npos) << said;
  const auto record = parse_exit_record(read_file(run / "exit.yaml"));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->code, 75);
  EXPECT_EQ(record->rank, 2);
  EXPECT_EQ(record->step, 7);
}

TEST(Watchdog, AStoppedRankIsNamedByTheOthers) {
  const TemporaryDirectory run;
  const Children children =
      start_ranks(run.path(), 3, 0, [](Watchdog&) { ::kill(::getpid(), SIGSTOP); });
  std::string said;
  for (std::size_t rank : {1U, 2U}) {
    const ChildEnd end = children[rank]->wait();
    EXPECT_EQ(end.code(), 75);
    said += end.said;
  }
  EXPECT_EQ(count(said, "watchdog of rank"), 1U) << said;
  EXPECT_NE(said.find("rank 0 on host node0: train, step 7 keeps"), std::string::npos) << said;
  EXPECT_NE(said.find("no sign of life"), std::string::npos) << said;
}

TEST(Watchdog, WaitingForARankThatGetsOnIsNoHang) {
  const TemporaryDirectory run;
  const Children children = start_ranks(run.path(), 3, 1, [](Watchdog& watchdog) {
    for (int i = 0; i < 10; ++i) {
      ::usleep(250'000);
      watchdog.alive();
    }
    ::_exit(0);
  });
  EXPECT_EQ(children[1]->wait().code(), 0);
  for (const std::size_t rank : {0U, 2U}) {
    int status = 0;
    EXPECT_EQ(::waitpid(children[rank]->pid(), &status, WNOHANG), 0) << "ended too early";
  }
}

TEST(Watchdog, AKilledRankIsFoundAtTheNextStart) {
  const TemporaryDirectory run;
  Children children;
  for (int rank = 0; rank < 3; ++rank) {
    children.push_back(std::make_unique<Child>([&run, rank] {
      install_signal_handlers();
      Watchdog watchdog(quick(rank));
      watchdog.write_heartbeats(run.path());
      watchdog.enter(RunPhase::train, 11);
      poll_for(30);
    }));
  }
  ::usleep(500'000);
  ::kill(children[1]->pid(), SIGKILL);
  for (const std::size_t rank : {0U, 2U}) ::kill(children[rank]->pid(), SIGTERM);
  EXPECT_EQ(children[1]->wait().signal(), SIGKILL);
  EXPECT_EQ(children[0]->wait().signal(), SIGTERM);
  EXPECT_EQ(children[2]->wait().signal(), SIGTERM);
  const LastExit last = cause_of_last_exit(run.path());
  EXPECT_EQ(last.kind, LastExit::Kind::failed);
  EXPECT_EQ(last.cause, "lost rank 1 on host node1: train, step 11");
}

TEST(Watchdog, ARankThatLeavesInGoodOrderSaysSo) {
  const TemporaryDirectory run;
  EXPECT_EQ(run_child([&] {
              Watchdog watchdog(quick(0));
              watchdog.write_heartbeats(run.path());
              watchdog.enter(RunPhase::finalize);
            }).code(),
            0);
  const auto beats = read_heartbeats(run.path());
  ASSERT_EQ(beats.size(), 1U);
  EXPECT_EQ(beats[0].state, Heartbeat::State::done);
  EXPECT_EQ(beats[0].phase, RunPhase::finalize);
}

TEST(Watchdog, DescribesAPositionInAProgram) {
  Program program;
  program.segments.push_back(
      {"backward 3", {{"x", {}, {}, {}}, {"all_reduce grad.w1", {}, {}, {}}}});
  program.calls.push_back(
      {.segment = 0, .microbatch = 2, .slots = {}, .slot_microbatch = {}, .waits = {}});
  Position position;
  EXPECT_EQ(describe(program, position), "");
  position.call = 0;
  position.instruction = 1;
  EXPECT_EQ(describe(program, position),
            "backward 3 of microbatch 2, instruction 1 all_reduce grad.w1");
  position.instruction = 2;
  EXPECT_EQ(describe(program, position), "");
}

ChildEnd end_of(const std::function<void()>& body, const std::filesystem::path& run = {}) {
  return run_child([&] {
    TerminateContext context;
    context.rank = 3;
    context.host = "node3";
    context.run_directory = run;
    context.where = [] { return std::string("train, step 20"); };
    context.step = [] { return std::int64_t{19}; };
    install_terminate_handler(context);
    body();
  });
}

TEST(Terminate, ExitCodeIsThatOfTheError) {
  const ChildEnd user =
      end_of([] { throw UserError("no such file\nnor this\x1b", ExitCode::input_missing); });
  EXPECT_EQ(user.code(), 66);
  EXPECT_EQ(user.said,
            "alpa: error on rank 3, host node3 (train, step 20): no such file\nnor this\\x1B\n");
  EXPECT_EQ(end_of([] { throw SystemError("disk"); }).code(), 74);
  EXPECT_EQ(end_of([] { throw std::logic_error("x"); }).code(), 70);
  EXPECT_EQ(end_of([] { throw 1; }).code(), 70);
  EXPECT_EQ(end_of([] { std::terminate(); }).code(), 70);
  EXPECT_EQ(end_of([] { std::thread([] { throw SystemError("disk"); }).join(); }).code(), 74);
}

TEST(Terminate, OutOfMemoryTellsWhatIsInUse) {
  const ChildEnd end = end_of([] { throw std::bad_alloc(); });
  EXPECT_EQ(end.code(), 71);
  EXPECT_NE(end.said.find(" kB in use"), std::string::npos) << end.said;
}

TEST(Terminate, NothingIsUnwound) {
  struct Loud {
    ~Loud() { ::_exit(9); }
  };
  // on a thread, below which there is no function that would stop the exception
  const ChildEnd end = end_of([] {
    std::thread([] {
      const Loud loud;
      throw SystemError("disk");
    }).join();
  });
  EXPECT_EQ(end.code(), 74);
}

TEST(Terminate, OnlyTheFirstRankSpeaks) {
  const TemporaryDirectory run;
  const ChildEnd first = end_of([] { throw SystemError("disk"); }, run.path());
  const ChildEnd second = end_of([] { throw SystemError("other"); }, run.path());
  EXPECT_NE(first.said, "");
  EXPECT_EQ(second.said, "");
  EXPECT_EQ(second.code(), 74);
  const auto record = parse_exit_record(read_file(run / "exit.yaml"));
  ASSERT_TRUE(record);
  EXPECT_EQ(*record, (ExitRecord{74, "disk", 19, 3}));
}

TEST(Terminate, MistakesThatAllRanksFindAreLeftToRankZero) {
  const auto seconds_of = [](int rank, ExitCode code) {
    const auto start = std::chrono::steady_clock::now();
    const ChildEnd end = run_child([&] {
      TerminateContext context;
      context.rank = rank;
      install_terminate_handler(context);
      throw UserError("found x", code);
    });
    EXPECT_EQ(end.code(), static_cast<int>(code));
    EXPECT_NE(end.said.find("found x"), std::string::npos);  // nobody ended the job meanwhile
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  EXPECT_LT(seconds_of(0, ExitCode::usage), 0.9);
  EXPECT_GE(seconds_of(3, ExitCode::usage), 1.0);
  EXPECT_LT(seconds_of(3, ExitCode::input_missing), 0.9);
}

TEST(Terminate, TheJobIsEndedByTheCallGiven) {
  const ChildEnd end = run_child([] {
    TerminateContext context;
    context.end = [](int code) { ::_exit(code == 74 ? 11 : 12); };
    install_terminate_handler(context);
    throw SystemError("disk");
  });
  EXPECT_EQ(end.code(), 11);
}

}  // namespace
}  // namespace alpa
