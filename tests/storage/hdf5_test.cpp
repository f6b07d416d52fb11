#include "alpa/storage/hdf5.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/storage/file.hpp"

#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

std::vector<float> counting(std::int64_t n) {
  std::vector<float> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 0.5F);
  return values;
}

void fill(H5Layout& layout, std::size_t dataset, std::span<const std::byte> bytes) {
  std::memcpy(layout.image.data() + layout.offset[dataset], bytes.data(), bytes.size());
}

/// Runs a Python program with h5py in the folder; false if there is no h5py.
bool run_python(const TemporaryDirectory& folder, const std::string& program) {
  if (std::system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) return false;
  std::ofstream(folder / "program.py") << program;
  const std::string command =
      "cd " + folder.path().string() + " && /usr/bin/python3 program.py 1>&2";
  EXPECT_EQ(std::system(command.c_str()), 0);
  return true;
}

std::string refusal(const std::filesystem::path& path, const std::string& dataset) {
  try {
    const H5Reader reader(path, ExitCode::checkpoint);
    const H5Dataset found = reader.describe(dataset);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::checkpoint);
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
    return error.what();
  }
}

TEST(Hdf5, FilledLayoutReadsBackBoxByBox) {
  const TemporaryDirectory folder;
  const std::vector<H5Dataset> datasets = {
      {"a.b", {3, 4}, H5Type::f32}, {"scalar", {}, H5Type::f64}, {"bits", {5}, H5Type::u16}};
  H5Layout layout = lay_out_hdf5(datasets, {{"step", "17"}, {"empty", ""}});
  const auto values = counting(12);
  const double scalar = 2.25;
  const std::vector<std::uint16_t> bits = {1, 2, 3, 65535, 5};
  fill(layout, 0, std::as_bytes(std::span(values)));
  fill(layout, 1, std::as_bytes(std::span(&scalar, 1)));
  fill(layout, 2, std::as_bytes(std::span(bits)));
  write_file(folder / "x.h5", layout.image);

  const H5Reader reader(folder / "x.h5", ExitCode::checkpoint);
  EXPECT_EQ(reader.attribute("step"), "17");
  EXPECT_EQ(reader.attribute("none"), "");
  std::vector<float> part(4);
  reader.read(datasets[0], {{1, 1}, {2, 2}}, reinterpret_cast<std::byte*>(part.data()));
  EXPECT_EQ(part, (std::vector<float>{5.5F, 6.5F, 9.5F, 10.5F}));
  double back = 0;
  reader.read(datasets[1], {{}, {}}, reinterpret_cast<std::byte*>(&back));
  EXPECT_EQ(back, scalar);
  std::vector<std::uint16_t> bits_back(5);
  reader.read(datasets[2], {{0}, {5}}, reinterpret_cast<std::byte*>(bits_back.data()));
  EXPECT_EQ(bits_back, bits);
}

TEST(Hdf5, EqualContentGivesEqualBytes) {
  const std::vector<H5Dataset> datasets = {{"a", {64}, H5Type::f64}};
  EXPECT_EQ(lay_out_hdf5(datasets, {}).image, lay_out_hdf5(datasets, {}).image);
}

TEST(Hdf5, AnotherShapeOrTypeThanExpectedIsRefused) {
  const TemporaryDirectory folder;
  write_file(folder / "x.h5",
             lay_out_hdf5(std::vector<H5Dataset>{{"a", {4}, H5Type::f32}}, {}).image);
  const H5Reader reader(folder / "x.h5", ExitCode::checkpoint);
  std::vector<std::byte> room(64);
  EXPECT_THROW(reader.read({"a", {5}, H5Type::f32}, {{0}, {4}}, room.data()), UserError);
  EXPECT_THROW(reader.read({"a", {4}, H5Type::f64}, {{0}, {4}}, room.data()), UserError);
  EXPECT_THROW(reader.read({"b", {4}, H5Type::f32}, {{0}, {4}}, room.data()), UserError);
  EXPECT_THROW(reader.read({"../a", {4}, H5Type::f32}, {{0}, {4}}, room.data()), UserError);
}

TEST(Hdf5, ChecksumsNoticeEveryBitFlipOfTheElements) {
  const TemporaryDirectory folder;
  const auto values = counting(1000);
  const auto image = hdf5_with_checksums("t", H5Type::f32, std::as_bytes(std::span(values)), {});
  std::vector<float> back(1000);
  for (std::size_t at = 0; at < image.size(); at += 3) {
    auto damaged = image;
    damaged[at] ^= std::byte{4};
    write_file(folder / "t.h5", damaged);
    std::fill(back.begin(), back.end(), 0.0F);
    try {
      const H5Reader reader(folder / "t.h5", ExitCode::bad_data);
      reader.read({"t", {1000}, H5Type::f32}, {{0}, {1000}},
                  reinterpret_cast<std::byte*>(back.data()));
      EXPECT_EQ(back, values) << "silent damage at byte " << at;
    } catch (const Error&) {
    }
  }
}

TEST(Hdf5, TruncatedFilesAndOtherFilesAreRefused) {
  const TemporaryDirectory folder;
  const auto image = lay_out_hdf5(std::vector<H5Dataset>{{"a", {4096}, H5Type::f32}}, {}).image;
  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, image.size() - 1}) {
    write_file(folder / "x.h5", std::span(image).first(size));
    EXPECT_NE(refusal(folder / "x.h5", "a"), "") << size;
  }
  EXPECT_NE(refusal(folder / "missing.h5", "a"), "");
}

TEST(Hdf5, HostileFilesAreRefused) {
  const TemporaryDirectory folder;
  const bool ran = run_python(folder, R"(
import h5py, numpy as np
open('secret', 'wb').write(b'x' * 64)
with h5py.File('other.h5', 'w') as f: f['a'] = np.arange(16, dtype='f4')
with h5py.File('external.h5', 'w') as f:
    f.create_dataset('a', (16,), 'f4', external=[('secret', 0, 64)])
with h5py.File('link.h5', 'w') as f: f['a'] = h5py.ExternalLink('other.h5', 'a')
with h5py.File('soft.h5', 'w') as f:
    f['b'] = np.arange(16, dtype='f4'); f['a'] = h5py.SoftLink('/b')
with h5py.File('virtual.h5', 'w') as f:
    layout = h5py.VirtualLayout((16,), 'f4'); layout[:] = h5py.VirtualSource('other.h5', 'a', (16,))
    f.create_virtual_dataset('a', layout)
with h5py.File('filter.h5', 'w') as f:
    f.create_dataset('a', data=np.arange(16, dtype='i4'), chunks=(16,), scaleoffset=0)
with h5py.File('huge.h5', 'w') as f: f.create_dataset('a', (1 << 46,), 'f4', chunks=(1 << 20,))
with h5py.File('huge_gzip.h5', 'w') as f:
    f.create_dataset('a', (1 << 46,), 'f4', chunks=(1 << 20,), compression='gzip')
with h5py.File('text.h5', 'w') as f: f['a'] = ['x', 'y']
with h5py.File('group.h5', 'w') as f: f.create_group('a')
with h5py.File('good.h5', 'w') as f:
    f.create_dataset('a', data=np.arange(16, dtype='u2'), compression='gzip', shuffle=True)
)");
  if (!ran) GTEST_SKIP() << "needs python3-h5py";
  EXPECT_EQ(refusal(folder / "good.h5", "a"), "");
  EXPECT_NE(refusal(folder / "external.h5", "a").find("other files"), std::string::npos);
  EXPECT_NE(refusal(folder / "link.h5", "a").find("link to elsewhere"), std::string::npos);
  EXPECT_NE(refusal(folder / "soft.h5", "a").find("link to elsewhere"), std::string::npos);
  EXPECT_NE(refusal(folder / "virtual.h5", "a").find("virtual"), std::string::npos);
  EXPECT_NE(refusal(folder / "filter.h5", "a").find("filter 6"), std::string::npos);
  EXPECT_NE(refusal(folder / "huge.h5", "a").find("declares"), std::string::npos);
  EXPECT_NE(refusal(folder / "huge_gzip.h5", "a").find("declares"), std::string::npos);
  EXPECT_NE(refusal(folder / "text.h5", "a").find("unsupported type"), std::string::npos);
  EXPECT_NE(refusal(folder / "group.h5", "a").find("not a dataset"), std::string::npos);
}

TEST(Hdf5, VirtualDatasetsShowWholeTensorsFromAnyFolder) {
  const TemporaryDirectory folder;
  const auto values = counting(6);
  for (int rank = 0; rank < 2; ++rank) {
    H5Layout layout = lay_out_hdf5(
        std::vector<H5Dataset>{{"w@0", {3, 2}, H5Type::f32}, {"s@0", {}, H5Type::f32}}, {});
    fill(layout, 0, std::as_bytes(std::span(values)));
    fill(layout, 1, std::as_bytes(std::span(values).first(1)));
    write_file(folder / ("rank_" + std::to_string(rank) + ".h5"), layout.image);
  }
  const std::vector<H5VirtualDataset> whole = {
      {{"w", {3, 4}, H5Type::f32},
       {{"rank_0.h5", "w@0", {{0, 0}, {3, 2}}}, {"rank_1.h5", "w@0", {{0, 2}, {3, 2}}}}},
      {{"s", {}, H5Type::f32}, {{"rank_1.h5", "s@0", {}}}}};
  write_file(folder / "state.h5", hdf5_of_virtual_datasets(whole, {{"step", "3"}}));
  EXPECT_NE(refusal(folder / "state.h5", "w").find("virtual"), std::string::npos);
  const bool ran = run_python(folder, R"(
import os, h5py, numpy as np
here = os.getcwd(); os.chdir('/')
with h5py.File(here + '/state.h5', 'r') as f:
    half = np.arange(6).reshape(3, 2) + 0.5
    assert f['w'].shape == (3, 4) and f['w'].dtype == np.float32
    assert (f['w'][...] == np.hstack([half, half])).all(), f['w'][...]
    assert f['s'][()] == 0.5 and f.attrs['step'] in ('3', b'3'), f.attrs['step']
)");
  if (!ran) GTEST_SKIP() << "needs python3-h5py";
}

TEST(Hdf5, ThreadsTakeTurns) {
  const TemporaryDirectory folder;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const std::filesystem::path path = folder / std::to_string(t);
      const auto values = counting(100 + t);
      const auto shape = Shape{static_cast<std::int64_t>(values.size())};
      write_file(path, hdf5_with_checksums("t", H5Type::f32, std::as_bytes(std::span(values)), {}));
      std::vector<float> back(values.size());
      const H5Reader reader(path, ExitCode::bad_data);
      reader.read({"t", shape, H5Type::f32}, whole_box(shape),
                  reinterpret_cast<std::byte*>(back.data()));
      EXPECT_EQ(back, values);
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace alpa
