#include <algorithm>
#include <filesystem>
#include <fstream>
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "checkpoint/example_state.hpp"
#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr int kRanks = 2;

bool has_temporaries(const fs::path& folder) {
  return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(),
                     [](const auto& e) { return e.path().string().ends_with(".tmp"); });
}

/// Saves step 40 in a child that is killed when it reaches fault point number `nth`. Returns
/// whether it got to the end, that is, reported the step as saved.
bool save_in_child(const fs::path& folder, int nth) {
  const pid_t child = ::fork();
  if (child == 0) {
    int reached = 0;
    const IoHook kill_at = [&](std::string_view) {
      if (reached++ == nth) ::raise(SIGKILL);
      return IoFault::none;
    };
    (void)save(folder, 40, kRanks, 2, kill_at);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// After a death at point `nth`, the next start finds one whole state and can save again.
void expect_recovery(const fs::path& folder, bool saved) {
  remove_leftovers(folder);
  EXPECT_FALSE(has_temporaries(folder));
  const FoundCheckpoint found = find_newest_valid(folder);
  ASSERT_TRUE(found.newest);
  EXPECT_TRUE(found.warnings.empty());
  const std::int64_t step = found.newest->info.step;
  EXPECT_TRUE(step == 40 || (step == 30 && !saved)) << step;
  EXPECT_TRUE(holds_state(*found.newest, step, 3));
  EXPECT_TRUE(save(folder, 40, 1).warnings.empty());
  EXPECT_TRUE(holds_state(*find_newest_valid(folder).newest, 40, 2));
}

TEST(Crash, AtEveryPointTheNewestCompleteCheckpointLoads) {
  int points = 0;
  for (bool saved = false; !saved; ++points) {
    ASSERT_LT(points, 100);
    SCOPED_TRACE(points);
    const TemporaryDirectory folder;
    (void)save(folder.path(), 20, kRanks);
    (void)save(folder.path(), 30, kRanks);
    saved = save_in_child(folder.path(), points);
    expect_recovery(folder.path(), saved);
  }
  EXPECT_GT(points, 15);  // the loop has seen stage, write, fsync, rename and prune
}

TEST(Crash, WhileADamagedCheckpointIsReplacedKeepsTheOthers) {
  for (int point = 0; point < 20; ++point) {
    SCOPED_TRACE(point);
    const TemporaryDirectory folder;
    (void)save(folder.path(), 30, kRanks);
    (void)save(folder.path(), 40, kRanks);
    fs::resize_file(folder / "step_00000040/state.h5", 7);
    const bool saved = save_in_child(folder.path(), point);
    remove_leftovers(folder.path());
    const FoundCheckpoint found = find_newest_valid(folder.path());
    ASSERT_TRUE(found.newest);
    const std::int64_t step = found.newest->info.step;
    EXPECT_TRUE(step == 40 || (step == 30 && !saved)) << step;
    EXPECT_TRUE(holds_state(*found.newest, step, 1));
  }
}

TEST(Crash, EverythingIsSyncedBeforeTheRenameAndTheRenameAfterIt) {
  const TemporaryDirectory folder;
  (void)save(folder.path(), 20, kRanks);
  (void)save(folder.path(), 30, kRanks);
  std::vector<std::string> points;
  (void)save(folder.path(), 40, kRanks, 2, [&](std::string_view point) {
    points.emplace_back(point);
    return IoFault::none;
  });
  const std::vector<std::string> expected = {"stage",  "write", "fsync",  // rank 0
                                             "stage",  "write", "fsync",  // rank 1
                                             "write",  "fsync",           // state.h5
                                             "write",  "fsync",           // manifest
                                             "fsync",                     // the folder's names
                                             "rename", "fsync",           // the checkpoint's name
                                             "write",  "fsync", "rename", "fsync",  // latest
                                             "prune"};
  EXPECT_EQ(points, expected);
}

/// Saves step 40 with a fault at point number `nth`; returns the exit code of the error, 0 if none.
int save_with_fault(const fs::path& folder, int nth, IoFault fault) {
  int reached = 0;
  const IoHook hook = [&](std::string_view) { return reached++ == nth ? fault : IoFault::none; };
  try {
    (void)save(folder, 40, kRanks, 2, hook);
    return 0;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("errno"), std::string::npos) << error.what();
    abandon_checkpoint(folder, 40);
    return static_cast<int>(error.code());
  }
}

TEST(Faults, FullDiskAndBadDiskLeaveNoHalfFileAndTheEarlierCheckpoint) {
  for (const IoFault fault : {IoFault::no_space, IoFault::io_error}) {
    int failures = 0;
    for (int point = 0; point < 18; ++point) {
      SCOPED_TRACE(point);
      const TemporaryDirectory folder;
      (void)save(folder.path(), 20, kRanks);
      (void)save(folder.path(), 30, kRanks);
      const int code = save_with_fault(folder.path(), point, fault);
      EXPECT_TRUE(code == 0 || code == static_cast<int>(ExitCode::io));
      failures += code != 0 ? 1 : 0;
      EXPECT_FALSE(has_temporaries(folder.path()));
      const FoundCheckpoint found = find_newest_valid(folder.path());
      EXPECT_TRUE(found.warnings.empty());
      const std::int64_t step = found.newest->info.step;
      EXPECT_TRUE(step == 40 || (step == 30 && code != 0)) << step;
      EXPECT_TRUE(holds_state(*found.newest, step, 1));
      EXPECT_EQ(save_with_fault(folder.path(), -1, fault), 0)
          << "cannot save after the disk is back";
    }
    EXPECT_EQ(failures, 13);  // all but the hint `latest` and the pruning, which only warn
  }
}

TEST(Faults, ShortWritesDoNoHarm) {
  for (int point = 0; point < 18; ++point) {
    const TemporaryDirectory folder;
    EXPECT_EQ(save_with_fault(folder.path(), point, IoFault::short_write), 0);
    EXPECT_TRUE(holds_state(*find_newest_valid(folder.path()).newest, 40, 3)) << point;
  }
}

TEST(Faults, ABitThatFlipsOnTheWayToTheDiskIsNoticed) {
  for (const int point : {1, 4, 6, 8}) {  // the writes of two rank files, state.h5 and manifest
    const TemporaryDirectory folder;
    (void)save(folder.path(), 30, kRanks);
    EXPECT_EQ(save_with_fault(folder.path(), point, IoFault::bit_flip), 0);
    const FoundCheckpoint found = find_newest_valid(folder.path());
    EXPECT_EQ(found.warnings.size(), 1U) << point;
    EXPECT_TRUE(holds_state(*found.newest, 30, 2));
  }
}

TEST(Faults, ARankFileThatIsNotSeenIsNotPublished) {
  const TemporaryDirectory folder;
  (void)save(folder.path(), 30, kRanks);
  for (const bool removed : {true, false}) {
    auto files = write_ranks(folder.path(), 40, kRanks);
    const fs::path file = folder / "step_00000040.tmp/rank_00001.h5";
    if (removed) fs::remove(file);
    if (!removed) fs::resize_file(file, 9);
    try {
      (void)publish_checkpoint(folder.path(), example_info(40), std::move(files), 2);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::io);
      EXPECT_NE(std::string(error.what()).find("rank_00001.h5"), std::string::npos);
    }
    EXPECT_FALSE(has_temporaries(folder.path()));
    EXPECT_EQ(find_newest_valid(folder.path()).newest->info.step, 30);
  }
}

TEST(Leftovers, OnlyOursAreRemovedAndNeverWhatALinkLeadsTo) {
  const TemporaryDirectory folder;
  const TemporaryDirectory elsewhere;
  std::ofstream(elsewhere / "precious") << "keep";
  const fs::path checkpoints = folder / "checkpoints";
  (void)save(checkpoints, 10, 1);
  (void)write_ranks(checkpoints, 20, 2);
  fs::create_directory_symlink(elsewhere.path(), checkpoints / "step_00000030.tmp");
  fs::create_directory_symlink(elsewhere.path(), checkpoints / "step_00000005");
  std::ofstream(checkpoints / "notes.tmp") << "the user's";
  EXPECT_EQ(remove_leftovers(checkpoints).size(), 2U);
  EXPECT_TRUE(fs::exists(elsewhere / "precious"));
  EXPECT_TRUE(fs::exists(checkpoints / "notes.tmp"));
  (void)save(checkpoints, 20, 1);
  (void)save(checkpoints, 30, 1);
  EXPECT_TRUE(fs::exists(elsewhere / "precious"));
  EXPECT_TRUE(fs::is_symlink(checkpoints / "step_00000005"));
}

TEST(Leftovers, AnAbandonedCheckpointIsGone) {
  const TemporaryDirectory folder;
  (void)write_ranks(folder.path(), 20, 2);
  EXPECT_TRUE(has_temporaries(folder.path()));
  abandon_checkpoint(folder.path(), 20);
  EXPECT_FALSE(has_temporaries(folder.path()));
  EXPECT_FALSE(find_newest_valid(folder.path()).newest);
}

TEST(Leftovers, FilesOfAnEarlierAttemptDoNotGetIntoTheCheckpoint) {
  const TemporaryDirectory folder;
  (void)write_ranks(folder.path(), 20, 4);
  (void)save(folder.path(), 20, 2);
  EXPECT_FALSE(fs::exists(folder / "step_00000020/rank_00003.h5"));
  EXPECT_TRUE(holds_state(*find_newest_valid(folder.path()).newest, 20, 1));
}

}  // namespace
}  // namespace alpa
