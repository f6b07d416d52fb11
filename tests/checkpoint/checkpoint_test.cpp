#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/storage/sha256.hpp"

#include "checkpoint/example_state.hpp"
#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::checkpoint) << error.what();
    return error.what();
  }
  return "";
}

bool says(const std::string& message, const std::string& part) {
  return message.find(part) != std::string::npos;
}

TEST(Checkpoint, AnyNumberOfRanksReadsWhatAnyOtherWrote) {
  for (const int writers : {1, 2, 3, 4, 8}) {
    const TemporaryDirectory folder;
    EXPECT_TRUE(save(folder.path(), 1000, writers).warnings.empty());
    const FoundCheckpoint found = find_newest_valid(folder.path());
    ASSERT_TRUE(found.newest);
    EXPECT_EQ(found.newest->directory, folder / "step_00001000");
    for (const int readers : {1, 2, 3, 5, 8}) {
      EXPECT_TRUE(holds_state(*found.newest, 1000, readers)) << writers << " to " << readers;
    }
    EXPECT_FALSE(holds_state(*found.newest, 999, 2)) << "the comparison cannot fail";
  }
}

TEST(Checkpoint, OneSnapshotIsFilledAgainForEachStep) {
  const TemporaryDirectory folder;
  const std::vector<StateTensor> tensors = {{"w", {4}, DType::f32}};
  RankSnapshot snapshot(tensors, {{0, {{0}, {4}}}}, 0);
  for (const float value : {1.0F, 2.0F}) {
    const std::vector<float> values(4, value);
    std::memcpy(snapshot.piece(0).data(), values.data(), 16);
    const auto step = static_cast<std::int64_t>(value);
    const auto file = snapshot.write(folder.path(), step);
    (void)publish_checkpoint(folder.path(), {step, "m", {}, tensors}, {file}, 2);
  }
  for (const float value : {1.0F, 2.0F}) {
    std::vector<float> back(4);
    const auto checkpoint =
        verify_checkpoint(folder / checkpoint_name(static_cast<std::int64_t>(value)));
    const std::vector<LoadPiece> wanted = {
        {"w", {{0}, {4}}, std::as_writable_bytes(std::span(back))}};
    load_pieces(checkpoint, wanted);
    EXPECT_EQ(back, std::vector<float>(4, value));
  }
}

TEST(Checkpoint, NothingIsWrittenOutsideItsFolder) {
  const TemporaryDirectory folder;
  (void)save(folder / "run/checkpoints", 5, 2);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"run"});
  EXPECT_EQ(names_in(folder / "run"), std::vector<std::string>{"checkpoints"});
  EXPECT_EQ(names_in(folder / "run/checkpoints"),
            (std::vector<std::string>{"latest", "step_00000005"}));
  EXPECT_EQ(
      names_in(folder / "run/checkpoints/step_00000005"),
      (std::vector<std::string>{"manifest.txt", "rank_00000.h5", "rank_00001.h5", "state.h5"}));
}

TEST(Checkpoint, NoFolderAndNoCheckpointIsAFreshStart) {
  const TemporaryDirectory folder;
  EXPECT_FALSE(find_newest_valid(folder / "none").newest);
  EXPECT_FALSE(find_newest_valid(folder.path()).newest);
}

TEST(Checkpoint, OldOnesGoBeyondKeepAndFutureOnesToo) {
  const TemporaryDirectory folder;
  for (const std::int64_t step : {10, 20, 30, 40}) (void)save(folder.path(), step, 1, 3);
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"latest", "step_00000020",
                                                               "step_00000030", "step_00000040"}));
  (void)save(folder.path(), 35, 1, 0);  // two are kept whatever is asked
  EXPECT_EQ(names_in(folder.path()),
            (std::vector<std::string>{"latest", "step_00000030", "step_00000035"}));
}

TEST(Checkpoint, DamagedOnesDoNotCountAmongThoseKept) {
  const TemporaryDirectory folder;
  (void)save(folder.path(), 10, 1);
  (void)save(folder.path(), 20, 1);
  fs::remove(folder / "step_00000020/rank_00000.h5");
  (void)save(folder.path(), 30, 1);
  EXPECT_TRUE(fs::exists(folder / "step_00000010"));
}

TEST(Checkpoint, ADamagedOneIsReplacedUnderItsName) {
  const TemporaryDirectory folder;
  (void)save(folder.path(), 10, 1);
  (void)save(folder.path(), 20, 3);
  fs::resize_file(folder / "step_00000020/rank_00001.h5", 5);
  EXPECT_EQ(find_newest_valid(folder.path()).newest->info.step, 10);
  EXPECT_TRUE(save(folder.path(), 20, 2).warnings.empty());
  EXPECT_TRUE(holds_state(*find_newest_valid(folder.path()).newest, 20, 1));
  EXPECT_TRUE(remove_leftovers(folder.path()).empty());
}

TEST(Checkpoint, ADamagedNewestFallsBackWithAWarningElseIsAnError) {
  const TemporaryDirectory folder;
  (void)save(folder.path(), 10, 2);
  (void)save(folder.path(), 20, 2);
  fs::rename(folder / "step_00000020/rank_00000.h5", folder / "x");
  fs::rename(folder / "step_00000020/rank_00001.h5", folder / "step_00000020/rank_00000.h5");
  fs::rename(folder / "x", folder / "step_00000020/rank_00001.h5");
  const FoundCheckpoint found = find_newest_valid(folder.path());
  EXPECT_TRUE(holds_state(*found.newest, 10, 2));
  ASSERT_EQ(found.warnings.size(), 1U);
  EXPECT_TRUE(says(found.warnings[0], "step_00000020")) << found.warnings[0];
  fs::remove(folder / "step_00000010/manifest.txt");
  const std::string message = refusal([&] { (void)find_newest_valid(folder.path()); });
  EXPECT_TRUE(says(message, "none of the 2") && says(message, "manifest.txt")) << message;
}

TEST(Checkpoint, EveryBitFlipTruncationAndLossIsNoticed) {
  const TemporaryDirectory folder;
  const fs::path directory = save(folder.path(), 10, 2).directory;
  const auto names = names_in(directory);
  const auto noticed = [&] {
    return !refusal([&] { (void)verify_checkpoint(directory); }).empty();
  };
  EXPECT_FALSE(noticed());
  for (std::uint64_t trial = 0; trial < 240; ++trial) {
    const fs::path path = directory / names[trial % names.size()];
    const std::string good = read_file(path);
    std::string bad = good;
    const auto bit =
        static_cast<std::size_t>(uniform(1, 2, trial) * static_cast<double>(8 * good.size()));
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    std::ofstream(path, std::ios::binary) << bad;
    EXPECT_TRUE(noticed()) << path << " bit " << bit;
    std::ofstream(path, std::ios::binary) << good.substr(0, bit / 8);
    EXPECT_TRUE(noticed()) << path << " cut at " << bit / 8;
    std::ofstream(path, std::ios::binary) << good;
  }
  for (const std::string& name : names) {
    fs::rename(directory / name, folder / "away");
    EXPECT_TRUE(noticed()) << name;
    fs::rename(folder / "away", directory / name);
  }
  EXPECT_FALSE(noticed());
}

TEST(Checkpoint, OfAnotherModelListsWhatDiffers) {
  const TemporaryDirectory folder;
  (void)save(folder.path(), 10, 2);
  const Checkpoint checkpoint = verify_checkpoint(folder / "step_00000010");
  auto tensors = example_tensors();
  EXPECT_EQ(refusal([&] { check_same_model(checkpoint, "abc", tensors); }), "");
  EXPECT_TRUE(says(refusal([&] { check_same_model(checkpoint, "abd", tensors); }), "abd"));
  tensors[0].shape = {10, 6};
  tensors[1].name = "layers.1.bias";
  tensors[2].dtype = DType::f64;
  const std::string message = refusal([&] { check_same_model(checkpoint, "abc", tensors); });
  for (const std::string part :
       {"layers.0.weight: saved as f32[6,10], the model has f32[10,6]", "missing: layers.1.bias",
        "not in the model: layers.0.bias", "layers.0.query: saved as f32", "nothing was loaded"}) {
    EXPECT_TRUE(says(message, part)) << part << "\n" << message;
  }
}

TEST(Checkpoint, PiecesThatOverlapOrLeaveGapsAreNotPublished) {
  const std::vector<StateTensor> tensors = {{"w", {4, 4}, DType::f32}};
  const auto publish = [&](const std::vector<Box>& boxes) {
    const TemporaryDirectory folder;
    std::vector<StatePiece> pieces;
    for (const Box& box : boxes) pieces.push_back({0, box});
    const RankSnapshot snapshot(tensors, pieces, 0);
    const auto file = snapshot.write(folder.path(), 1);
    return refusal(
        [&] { (void)publish_checkpoint(folder.path(), {1, "m", {}, tensors}, {file}, 2); });
  };
  EXPECT_EQ(publish({{{0, 0}, {2, 4}}, {{2, 0}, {2, 2}}, {{2, 2}, {2, 2}}}), "");
  EXPECT_TRUE(says(publish({{{0, 0}, {2, 4}}, {{2, 0}, {2, 2}}}), "cover 12 of 16"));
  EXPECT_TRUE(says(publish({{{0, 0}, {3, 4}}, {{2, 0}, {2, 2}}}), "overlap"));
}

/// Rewrites the manifest under a correct digest.
void forge(const fs::path& directory, const std::function<std::string(std::string)>& change) {
  const fs::path path = directory / "manifest.txt";
  std::string text = read_file(path);
  text = change(text.substr(0, text.rfind("end ")));
  std::ofstream(path) << text << "end " << sha256_of(std::string_view(text)) << "\n";
}

TEST(Checkpoint, ForgedManifestsAreRefusedWithoutACrash) {
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"file rank_00000.h5", "file ../../../etc/passwd"},
      {"file rank_00001.h5", "file rank_00000.h5"},
      {"tensor layers.0.weight f32 6,10", "tensor layers.0.weight f32 9223372036854775807,10"},
      {"tensor layers.0.weight f32 6,10", "tensor layers.0.weight f32 6,-10"},
      {"tensor layers.0.weight f32 6,10", "tensor layers.0.weight f31 6,10"},
      {"tensor layers.0.weight f32 6,10", "tensor layers.0.weight f32 7,10"},
      {"piece 0", "piece 77"},
      {"piece 0", "piece 99999999999999999999"},
      {"piece 0 0,0", "piece 0 0"},
      {"step 10", "step 11"},
      {"step 10", "stop 10"},
      {"alpa-checkpoint 1", "alpa-checkpoint 2"},
  };
  for (const auto& [from, to] : changes) {
    const TemporaryDirectory folder;
    const fs::path directory = save(folder.path(), 10, 2).directory;
    forge(directory, [&, from = from, to = to](std::string text) {
      EXPECT_TRUE(says(text, from)) << from;
      return text.replace(text.find(from), from.size(), to);
    });
    EXPECT_NE(refusal([&] { (void)verify_checkpoint(directory); }), "") << to;
  }
}

TEST(Checkpoint, ARankFileThatDisagreesWithTheManifestIsRefused) {
  const TemporaryDirectory folder;
  const fs::path directory = save(folder.path(), 10, 1).directory;
  const std::vector<H5Dataset> small = {{"layers.0.weight@0", {1, 10}, H5Type::f32}};
  write_file(directory / "rank_00000.h5", lay_out_hdf5(small, {}).image);
  const Checkpoint checkpoint = read_checkpoint(directory);
  std::vector<float> values(60);
  const std::vector<LoadPiece> wanted = {
      {"layers.0.weight", {{0, 0}, {6, 10}}, std::as_writable_bytes(std::span(values))}};
  EXPECT_TRUE(says(refusal([&] { load_pieces(checkpoint, wanted); }), "has shape [1,10]"));
}

TEST(Checkpoint, StateFileShowsWholeTensorsToPython) {
  if (std::system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) {
    GTEST_SKIP() << "needs python3-h5py";
  }
  const TemporaryDirectory folder;
  const fs::path directory = save(folder.path(), 10, 3).directory;
  const auto tensors = example_tensors();
  const auto expected = state_box(tensors, 0, whole_box(tensors[0].shape), 10);
  write_file(folder / "expected", expected);
  std::ofstream(folder / "look.py") << R"(
import sys, h5py, numpy as np
with h5py.File(sys.argv[1] + '/state.h5', 'r') as f:
    w = f['layers.0.weight']
    assert w.shape == (6, 10) and w.dtype == np.float32
    assert w[...].tobytes() == open(sys.argv[2], 'rb').read()
    assert f['count'].shape == () and f['count'].dtype == np.int32
    assert f['layers.0.query'].shape == (4, 3, 5) and f['half'].dtype == np.uint16
    assert len(f) == 6, list(f)
    assert f.attrs['step'] in ('10', b'10')
)";
  const std::string command = "/usr/bin/python3 " + (folder / "look.py").string() + " " +
                              directory.string() + " " + (folder / "expected").string() + " 1>&2";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace alpa
