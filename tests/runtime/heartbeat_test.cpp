#include "alpa/runtime/heartbeat.hpp"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/runtime/last_exit.hpp"
#include "alpa/storage/file.hpp"

#include "runtime/child.hpp"
#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

Heartbeat example(int rank) {
  Heartbeat beat;
  beat.rank = rank;
  beat.host = "node" + std::to_string(rank);
  beat.phase = RunPhase::train;
  beat.step = 20;
  beat.call = 7;
  beat.instruction = 45;
  beat.ticks = 1234567890123ULL;
  beat.idle = 1.5;
  beat.polling = true;
  beat.doing = "backward 3, instruction 45 all_reduce grad.w1";
  return beat;
}

TEST(Heartbeat, ReadsBackWhatWasWritten) {
  EXPECT_EQ(parse_heartbeat(to_text(example(2))), example(2));
  EXPECT_EQ(parse_heartbeat(to_text(Heartbeat{})), Heartbeat{});
  EXPECT_EQ(to_text(example(2)).size(), kHeartbeatSize);
}

TEST(Heartbeat, HostileNamesStayOnTheirLine) {
  Heartbeat beat = example(2);
  beat.host = "a\nphase done\x1b[2J";
  beat.doing = std::string(300, 'x') + "\xC3\xA4" + std::string(300, '\xFF');
  for (std::size_t length = 0; length <= beat.doing.size(); ++length) {
    Heartbeat cut = beat;
    cut.doing.resize(length);
    const std::string text = to_text(cut);
    ASSERT_EQ(text.size(), kHeartbeatSize);
    const auto back = parse_heartbeat(text);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->phase, RunPhase::train);
    EXPECT_EQ(back->host, "a\\x0Aphase done\\x1B[2J");
  }
}

TEST(Heartbeat, TornOrForeignFilesAreNone) {
  const std::string good = to_text(example(2));
  EXPECT_FALSE(parse_heartbeat(""));
  EXPECT_FALSE(parse_heartbeat(good.substr(0, kHeartbeatSize - 1)));
  EXPECT_FALSE(parse_heartbeat(std::string(kHeartbeatSize, '\0')));
  for (std::size_t cut = 0; cut + 4 < kHeartbeatSize; cut += 7) {
    std::string torn = good;
    std::fill(torn.begin() + static_cast<std::ptrdiff_t>(cut), torn.end(), '\0');
    EXPECT_FALSE(parse_heartbeat(torn)) << cut;
  }
}

TEST(Heartbeat, FilesAreListedByRankAndNotThroughLinks) {
  const TemporaryDirectory run;
  const TemporaryDirectory elsewhere;
  EXPECT_TRUE(read_heartbeats(run.path()).empty());
  for (const int rank : {10, 2, 0}) ASSERT_TRUE(write_heartbeat(run.path(), example(rank)));
  std::ofstream(run / "heartbeat" / "rank_x") << "no";
  fs::create_symlink(elsewhere / "victim", run / "heartbeat" / "rank_00005");
  EXPECT_FALSE(write_heartbeat(run.path(), example(5)));
  EXPECT_FALSE(fs::exists(elsewhere / "victim"));
  std::vector<int> ranks;
  for (const Heartbeat& beat : read_heartbeats(run.path())) ranks.push_back(beat.rank);
  EXPECT_EQ(ranks, (std::vector<int>{0, 2, 10}));
  remove_heartbeats(run.path());
  EXPECT_TRUE(read_heartbeats(run.path()).empty());
  EXPECT_TRUE(fs::exists(run / "heartbeat" / "rank_x"));
}

TEST(LeastProgress, NamesWhoeverKeepsTheOthersWaiting) {
  const auto named = [](const std::function<void(Heartbeat&)>& change) {
    std::vector<Heartbeat> beats;
    for (int rank = 0; rank < 4; ++rank) beats.push_back(example(rank));
    change(beats[2]);
    const auto index = least_progress(beats);
    return index ? beats[*index].rank : -1;
  };
  EXPECT_EQ(named([](Heartbeat& b) { b.age = 6.0; }), 2);
  EXPECT_EQ(named([](Heartbeat& b) { b.step = 19; }), 2);
  EXPECT_EQ(named([](Heartbeat& b) { b.polling = false; }), 2);
  EXPECT_EQ(named([](Heartbeat& b) { b.phase = RunPhase::load; }), 2);
  EXPECT_EQ(named([](Heartbeat& b) { b.idle = 9.0; }), 2);
  EXPECT_EQ(named([](Heartbeat&) {}), 0);
  EXPECT_EQ(named([](Heartbeat& b) { b.state = Heartbeat::State::done, b.step = 1; }), 0);
  EXPECT_EQ(least_progress({}), std::nullopt);
}

TEST(LastExit, TheOrderlyAndTheFailedAreToldApart) {
  const TemporaryDirectory run;
  EXPECT_EQ(cause_of_last_exit(run.path()).kind, LastExit::Kind::none);
  const auto kind_of_code = [&](int code) {
    replace_file(run / "exit.yaml", to_yaml({code, "why \"so\"\n\x01\\", 12, 3}));
    return cause_of_last_exit(run.path()).kind;
  };
  EXPECT_EQ(kind_of_code(0), LastExit::Kind::orderly);
  EXPECT_EQ(kind_of_code(85), LastExit::Kind::orderly);
  EXPECT_EQ(kind_of_code(78), LastExit::Kind::terminated);
  EXPECT_EQ(kind_of_code(75), LastExit::Kind::failed);
  EXPECT_EQ(kind_of_code(71), LastExit::Kind::failed);
  const std::string cause = cause_of_last_exit(run.path()).cause;
  EXPECT_NE(cause.find("exit code 71 on rank 3 at step 12: why \"so\""), std::string::npos)
      << cause;
}

TEST(LastExit, RecordReadsBackEqual) {
  const ExitRecord record{75, "a \"b\" \\ \n\t\x1b\x7f \xC3\xA4 end", 1234567890123, 17};
  const std::string yaml = to_yaml(record);
  EXPECT_EQ(parse_exit_record(yaml), record);
  EXPECT_EQ(std::count(yaml.begin(), yaml.end(), '\n'), 4);
  EXPECT_EQ(parse_exit_record(""), std::nullopt);
  EXPECT_EQ(parse_exit_record("code: 75\nreason: \"x\nstep: 1\nrank: 0\n"), std::nullopt);
}

TEST(LastExit, TheFirstToFailIsRecorded) {
  const TemporaryDirectory run;
  EXPECT_TRUE(record_exit(run.path(), {74, "first", 1, 2}));
  EXPECT_FALSE(record_exit(run.path(), {75, "second", 1, 0}));
  EXPECT_EQ(parse_exit_record(read_file(run / "exit.yaml"))->reason, "first");
  EXPECT_TRUE(record_exit(run / "missing", {74, "nowhere", 1, 2}));
}

TEST(LastExit, ALostRankIsToldFromThoseTheLauncherEnded) {
  const TemporaryDirectory run;
  for (const int rank : {0, 1, 2, 3}) {
    Heartbeat beat = example(rank);
    if (rank != 2) beat.state = Heartbeat::State::terminated;
    ASSERT_TRUE(write_heartbeat(run.path(), beat));
  }
  const LastExit last = cause_of_last_exit(run.path());
  EXPECT_EQ(last.kind, LastExit::Kind::failed);
  EXPECT_EQ(last.cause,
            "lost rank 2 on host node2: train, step 20, "
            "backward 3, instruction 45 all_reduce grad.w1");
  Heartbeat beat = example(2);
  beat.state = Heartbeat::State::terminated;
  ASSERT_TRUE(write_heartbeat(run.path(), beat));
  EXPECT_EQ(cause_of_last_exit(run.path()).kind, LastExit::Kind::terminated);
}

/// A run from `resumed` that ends with the code.
void run_and_end(const fs::path& run, std::int64_t resumed, int code) {
  note_start(run, resumed);
  ASSERT_TRUE(record_exit(run, {code, "boom", resumed + 5, 1}));
}

TEST(Restarts, TheThirdWithoutProgressIsRefused) {
  const TemporaryDirectory run;
  for (int i = 0; i < 3; ++i) run_and_end(run.path(), 40, 75);
  for (int again = 0; again < 2; ++again) {
    try {
      note_start(run.path(), 40);
      ADD_FAILURE() << "started";
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::no_progress);
      EXPECT_NE(std::string(error.what()).find("boom"), std::string::npos) << error.what();
    }
    record_exit(run.path(), {93, "no progress", 40, 0});  // as the terminate handler does
  }
  fs::remove(run / "restarts");
  note_start(run.path(), 40);
}

TEST(Restarts, ProgressStopsOnRequestAndUsersMistakesDoNotCount) {
  const TemporaryDirectory run;
  for (int i = 0; i < 6; ++i) run_and_end(run.path(), 10 * i, 75);  // each got further
  for (int i = 0; i < 6; ++i) run_and_end(run.path(), 50, 85);
  for (int i = 0; i < 6; ++i) run_and_end(run.path(), 50, 78);
  note_start(run.path(), 50);
  EXPECT_EQ(note_start(run.path(), 50).kind, LastExit::Kind::none);  // both files are cleared
}

TEST(Restarts, LostRanksCount) {
  const TemporaryDirectory run;
  for (int i = 0; i < 3; ++i) {
    note_start(run.path(), 0);
    ASSERT_TRUE(write_heartbeat(run.path(), example(0)));
  }
  EXPECT_THROW(note_start(run.path(), 0), UserError);
}

}  // namespace
}  // namespace alpa
