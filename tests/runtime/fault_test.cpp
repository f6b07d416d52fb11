#include "alpa/runtime/fault.hpp"

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "runtime/child.hpp"

namespace alpa {
namespace {

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

ChildEnd end_at(const std::string& deed) {
  return run_child([&] {
    FaultPlan plan("at=step:3.backward;do=" + deed);
    plan.reach_step(3, "forward");
    plan.reach_step(3, "backward");
  });
}

TEST(Fault, NothingIsDueWithoutTheVariable) {
  ::unsetenv("ALPA_FAULT");
  FaultPlan plan = FaultPlan::from_environment();
  EXPECT_TRUE(plan.empty());
  EXPECT_FALSE(plan.due("init"));
  EXPECT_EQ(plan.reach("init"), FaultAction::none);
  EXPECT_FALSE(plan.checkpoint_hook(1));
}

TEST(Fault, IsReadFromTheEnvironment) {
  ::setenv("ALPA_FAULT", "at=plan;do=nan", 1);
  FaultPlan plan = FaultPlan::from_environment();
  ::unsetenv("ALPA_FAULT");
  EXPECT_TRUE(plan.due("plan"));
}

TEST(Fault, HappensOnceAtItsPointOnItsRank) {
  FaultPlan plan("rank=2;at=step:20.backward;do=nan,at=step:20.backward;do=inf");
  EXPECT_EQ(plan.reach_step(20, "forward"), FaultAction::none);
  EXPECT_EQ(plan.reach_step(2, "backward"), FaultAction::none);
  EXPECT_EQ(plan.reach_step(20, "backward"), FaultAction::inf);  // the rank is not known yet
  EXPECT_EQ(plan.reach_step(20, "backward"), FaultAction::none);
  plan.set_rank(1);
  EXPECT_FALSE(plan.due("step:20.backward"));
  plan.set_rank(2);
  EXPECT_EQ(plan.reach_step(20, "backward"), FaultAction::nan);
  EXPECT_EQ(plan.reach_step(20, "backward"), FaultAction::none);
}

TEST(Fault, AllPointsAndDeedsOfTheManualAreRead) {
  const std::vector<std::string> points = {"init",
                                           "plan",
                                           "load",
                                           "finalize",
                                           "step:1.data",
                                           "step:1.reduce",
                                           "step:1.update",
                                           "step:1.forward",
                                           "step:1.backward",
                                           "checkpoint:5.stage",
                                           "checkpoint:5.write:12",
                                           "checkpoint:5.fsync",
                                           "checkpoint:5.rename",
                                           "checkpoint:5.prune"};
  const std::vector<std::string> deeds = {"kill9",   "segv",    "abort",  "throw",      "stop",
                                          "oom",     "sleep:1", "slow:2", "nan",        "inf",
                                          "bitflip", "enospc",  "eio",    "shortwrite", "badtoken"};
  for (const std::string& point : points) {
    for (const std::string& deed : deeds) {
      EXPECT_TRUE(FaultPlan("at=" + point + ";do=" + deed).due(point)) << point << " " << deed;
    }
  }
}

TEST(Fault, MalformedTextIsAUsageErrorThatQuotesIt) {
  const std::vector<std::string> texts = {
      "x",
      "at=init",
      "do=kill9",
      "at=init;do=kill",
      "at=init;do=sleep",
      "at=init;do=sleep:-1",
      "at=init;do=slow:0.5",
      "at=init;do=kill9:1",
      "at=start;do=kill9",
      "at=step:0.data;do=nan",
      "at=step:01.data;do=nan",
      "at=step:1.save;do=nan",
      "at=step:1;do=nan",
      "at=checkpoint:1.write;do=eio",
      "at=checkpoint:1.write:0;do=eio",
      "at=init;at=plan;do=nan",
      "at=init;do=nan;do=inf",
      "rank=-1;at=init;do=nan",
      "rank=a;at=init;do=nan",
      "at=init;do=nan;",
      "at=init;do=nan,",
  };
  for (const std::string& text : texts) {
    try {
      const FaultPlan plan(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::usage) << text;
      EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos) << text;
      EXPECT_NE(std::string(error.what()).find("found \""), std::string::npos) << text;
    }
  }
}

TEST(Fault, EndsTheProcessAsItSays) {
  EXPECT_EQ(end_at("kill9").signal(), SIGKILL);
  EXPECT_EQ(end_at("segv").signal(), SIGSEGV);
  EXPECT_EQ(end_at("abort").signal(), SIGABRT);
  EXPECT_EQ(end_at("nan").code(), 0);
}

TEST(Fault, ThrowIsABugAndMemoryRunsOut) {
  FaultPlan plan("at=init;do=throw,at=load;do=oom");
  try {
    plan.reach("init");
    ADD_FAILURE() << "no exception";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::bug);
  }
  EXPECT_THROW(plan.reach("load"), std::bad_alloc);
}

TEST(Fault, StopStopsTheProcess) {
  Child child([] { FaultPlan("at=init;do=stop").reach("init"); });
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid(), &status, WUNTRACED), child.pid());
  EXPECT_TRUE(WIFSTOPPED(status));
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.wait().code(), 0);
}

TEST(Fault, SleepSleeps) {
  FaultPlan plan("at=load;do=sleep:0.2");
  EXPECT_GE(seconds_of([&] { plan.reach("load"); }), 0.19);
  EXPECT_LT(seconds_of([&] { plan.reach("load"); }), 0.1);
}

/// Burns so many seconds of this thread's CPU time.
void work(double seconds) {
  const auto cpu = [] {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  for (const double end = cpu() + seconds; cpu() < end;) {
  }
}

TEST(Fault, SlowStretchesWorkBetweenPoints) {
  FaultPlan plan("at=step:1.data;do=slow:4");
  plan.reach_step(1, "data");
  work(0.05);
  EXPECT_GE(seconds_of([&] { plan.reach_step(1, "forward"); }), 0.14);
  EXPECT_LT(seconds_of([&] { plan.reach_step(1, "backward"); }), 0.05);  // nothing done since
}

TEST(Fault, CheckpointHookCountsWrites) {
  FaultPlan plan("at=checkpoint:40.write:2;do=enospc,at=checkpoint:40.fsync;do=eio");
  const IoHook other = plan.checkpoint_hook(20);
  const IoHook hook = plan.checkpoint_hook(40);
  EXPECT_EQ(other("write"), IoFault::none);
  EXPECT_EQ(other("write"), IoFault::none);
  EXPECT_EQ(hook("stage"), IoFault::none);
  EXPECT_EQ(hook("write"), IoFault::none);
  EXPECT_EQ(hook("write"), IoFault::no_space);
  EXPECT_EQ(hook("write"), IoFault::none);
  EXPECT_EQ(hook("fsync"), IoFault::io_error);
  EXPECT_EQ(hook("fsync"), IoFault::none);
}

}  // namespace
}  // namespace alpa
