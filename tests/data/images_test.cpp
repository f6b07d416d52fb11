#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/data/dataset.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/hdf5.hpp"

#include "data/batches.hpp"
#include "data/image_files.hpp"
#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

/// Files with contiguous datasets `image` of [n y x c] or [n y x] and `label`.
template <class Pixel>
void put_hdf5(const fs::path& path, const Shape& shape, H5Type type,
              const std::vector<std::int32_t>& labels, double scale = 1.0) {
  const std::vector<H5Dataset> datasets = {
      {"image", shape, type}, {"label", {static_cast<std::int64_t>(labels.size())}, H5Type::i32}};
  H5Layout layout = lay_out_hdf5(datasets, {});
  const std::int64_t channels = shape.size() == 4 ? shape[3] : 1;
  std::vector<Pixel> pixels;
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    for (std::int64_t y = 0; y < shape[1]; ++y) {
      for (std::int64_t x = 0; x < shape[2]; ++x) {
        for (std::int64_t c = 0; c < channels; ++c) {
          pixels.push_back(static_cast<Pixel>(scale * pixel(i, y, x, c)));
        }
      }
    }
  }
  std::memcpy(layout.image.data() + layout.offset[0], pixels.data(), pixels.size() * sizeof(Pixel));
  std::memcpy(layout.image.data() + layout.offset[1], labels.data(), labels.size() * 4);
  write_file(path, layout.image);
}

ImageOptions plain(const fs::path& path) {
  ImageOptions options;
  options.files = {path};
  options.classes = 10;
  options.mean = {0.0};
  options.deviation = {1.0};
  options.held_out = 0.0;
  options.shuffle = false;
  return options;
}

constexpr BatchOptions kBatches{.global_batch = 4, .seed = 3, .evaluation_samples = 0};

/// Batch 1 of the images of `shape` is images 0, 1, … as `pixel` says.
void expect_pixels(const Dataset& data, const ImageShape& shape, double scale = 1.0 / 255) {
  const auto images = reals(data, Split::training, 1, "images");
  const auto features = reals(data, Split::training, 1, "features");
  EXPECT_EQ(images, features);
  std::size_t at = 0;
  for (std::int64_t i = 0; i < data.global_batch(); ++i) {
    for (std::int64_t y = 0; y < shape.height; ++y) {
      for (std::int64_t x = 0; x < shape.width; ++x) {
        for (std::int64_t c = 0; c < shape.channels; ++c) {
          EXPECT_NEAR(images[at++], scale * pixel(i, y, x, c), 1e-12) << i << " " << y << " " << x;
        }
      }
    }
  }
  EXPECT_EQ(at, images.size());
  EXPECT_EQ(integers(data, Split::training, 1, "labels"), (std::vector<std::int32_t>{0, 1, 2, 3}));
}

TEST(Images, OfCifarComeWithChannelsLastFromSeveralFiles) {
  const TemporaryDirectory folder;
  put_bytes(folder / "data_batch_1.bin", cifar_bytes(0, 3));
  put_bytes(folder / "data_batch_2.bin", cifar_bytes(3, 5));
  put_bytes(folder / "test_batch.bin", cifar_bytes(8, 2));
  put_bytes(folder / "readme.html", {1, 2, 3});
  const Dataset data = image_dataset(plain(folder.path()), kBatches);
  expect_pixels(data, {32, 32, 3});
  EXPECT_EQ(data.samples_per_epoch(), 8);
  EXPECT_EQ(data.num_evaluation_batches(), 1);
  EXPECT_EQ(data.total_weight(Split::evaluation, 0), 2);
  EXPECT_EQ(integers(data, Split::evaluation, 0, "labels"),
            (std::vector<std::int32_t>{8, 9, 0, 0}));
}

TEST(Images, OfIdxFindTheirLabelsByName) {
  const TemporaryDirectory folder;
  put_bytes(folder / "train-images-idx3-ubyte", idx_images(6, 5, 4));
  put_bytes(folder / "train-labels-idx1-ubyte", idx_labels(6));
  put_bytes(folder / "t10k-images-idx3-ubyte", idx_images(3, 5, 4));
  put_bytes(folder / "t10k-labels-idx1-ubyte", idx_labels(3));
  const Dataset data = image_dataset(plain(folder.path()), kBatches);
  expect_pixels(data, {5, 4, 1});
  EXPECT_EQ(data.total_weight(Split::evaluation, 0), 3);
}

TEST(Images, OfHdf5AreBytesOrReals) {
  const TemporaryDirectory folder;
  const std::vector<std::int32_t> labels = {0, 1, 2, 3, 4};
  put_hdf5<std::uint8_t>(folder / "a.h5", {5, 3, 4, 2}, H5Type::u8, labels);
  put_hdf5<std::uint8_t>(folder / "b.h5", {5, 3, 4}, H5Type::u8, labels);
  put_hdf5<float>(folder / "c.h5", {5, 3, 4}, H5Type::f32, labels, 0.25);
  expect_pixels(image_dataset(plain(folder / "a.h5"), kBatches), {3, 4, 2});
  expect_pixels(image_dataset(plain(folder / "b.h5"), kBatches), {3, 4, 1});
  expect_pixels(image_dataset(plain(folder / "c.h5"), kBatches), {3, 4, 1}, 0.25);
}

TEST(Images, AreScaledByTheFormatUnlessTold) {
  const TemporaryDirectory folder;
  put_bytes(folder / "a.bin", cifar_bytes(0, 4));
  ImageOptions options = plain(folder / "a.bin");
  const auto raw = reals(image_dataset(options, kBatches), Split::training, 1, "images");
  options.mean = {};
  options.deviation = {};
  const auto own = reals(image_dataset(options, kBatches), Split::training, 1, "images");
  options.mean = {1, 2, 3};
  options.deviation = {2};
  const auto told = reals(image_dataset(options, kBatches), Split::training, 1, "images");
  const double mean[] = {0.4914, 0.4822, 0.4465};
  const double deviation[] = {0.2470, 0.2435, 0.2616};
  for (std::size_t i = 0; i < raw.size(); ++i) {
    EXPECT_NEAR(own[i], (raw[i] - mean[i % 3]) / deviation[i % 3], 1e-12);
    EXPECT_NEAR(told[i], (raw[i] - static_cast<double>(i % 3 + 1)) / 2, 1e-12);
  }
}

TEST(Images, ComeOnceAnEpochAndHeldOutOnesNever) {
  const TemporaryDirectory folder;
  put_bytes(folder / "a.bin", cifar_bytes(0, 20, 20));
  ImageOptions options = plain(folder / "a.bin");
  options.held_out = 0.2;
  options.shuffle = true;
  options.classes = 20;
  const Dataset data = image_dataset(options, kBatches);
  std::vector<std::vector<std::int32_t>> epochs;
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    auto& labels = epochs.emplace_back();
    for (std::int64_t step = 1; step <= 4; ++step) {
      const auto batch = integers(data, Split::training, 4 * epoch + step, "labels");
      labels.insert(labels.end(), batch.begin(), batch.end());
    }
    const std::set<std::int32_t> distinct(labels.begin(), labels.end());
    EXPECT_EQ(distinct.size(), 16U);
    EXPECT_LT(*distinct.rbegin(), 16);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_EQ(integers(data, Split::evaluation, 0, "labels"),
            (std::vector<std::int32_t>{16, 17, 18, 19}));
}

/// The row is the image shifted by at most `crop`, with zeros from outside, perhaps mirrored;
/// returns how: {down, right, mirrored}.
std::vector<std::int64_t> found_augmentation(std::span<const double> seen, std::int64_t image,
                                             std::int64_t side, std::int64_t crop) {
  for (std::int64_t down = -crop; down <= crop; ++down) {
    for (std::int64_t right = -crop; right <= crop; ++right) {
      for (std::int64_t mirrored = 0; mirrored < 2; ++mirrored) {
        bool same = true;
        for (std::int64_t y = 0; y < side && same; ++y) {
          for (std::int64_t x = 0; x < side && same; ++x) {
            const std::int64_t from_y = y - down;
            const std::int64_t from_x = (mirrored != 0 ? side - 1 - x : x) - right;
            const bool inside = from_y >= 0 && from_y < side && from_x >= 0 && from_x < side;
            const double value = inside ? pixel(image, from_y, from_x, 0) / 255.0 : 0;
            same = std::abs(seen[static_cast<std::size_t>(y * side + x)] - value) < 1e-12;
          }
        }
        if (same) return {down, right, mirrored};
      }
    }
  }
  return {};
}

TEST(Augmentation, ShiftsAndMirrorsAsAFunctionOfSeedEpochAndImage) {
  const TemporaryDirectory folder;
  put_bytes(folder / "x-images-idx3-ubyte", idx_images(40, 9, 9));
  put_bytes(folder / "x-labels-idx1-ubyte", idx_labels(40));
  ImageOptions options = plain(folder / "x-images-idx3-ubyte");
  options.crop = 2;
  options.flip = true;
  const BatchOptions batches{.global_batch = 40, .seed = 3, .evaluation_samples = 0};
  const Dataset data = image_dataset(options, batches);
  std::map<std::vector<std::int64_t>, int> seen;
  std::vector<std::vector<std::int64_t>> epochs[2];
  for (std::size_t epoch = 0; epoch < 2; ++epoch) {
    const auto images =
        reals(data, Split::training, static_cast<std::int64_t>(epoch) + 1, "images");
    for (std::int64_t i = 0; i < 40; ++i) {
      const auto how = found_augmentation(
          std::span(images).subspan(static_cast<std::size_t>(i) * 81, 81), i, 9, 2);
      ASSERT_EQ(how.size(), 3U) << "image " << i;
      ++seen[how];
      epochs[epoch].push_back(how);
    }
  }
  EXPECT_GT(seen.size(), 25U);  // of 50 ways, 80 draws
  EXPECT_NE(epochs[0], epochs[1]);
  // In another order an image of the same epoch is cut and mirrored as before.
  options.shuffle = true;
  const auto shuffled = reals(image_dataset(options, batches), Split::training, 1, "images");
  const auto order = reals(data, Split::training, 1, "images");
  std::multiset<std::vector<double>> rows[2];
  for (std::size_t i = 0; i < 40; ++i) {
    const auto row = [i](const std::vector<double>& all) {
      const auto first = all.begin() + static_cast<std::ptrdiff_t>(81 * i);
      return std::vector<double>(first, first + 81);
    };
    rows[0].insert(row(shuffled));
    rows[1].insert(row(order));
  }
  EXPECT_NE(shuffled, order);
  EXPECT_EQ(rows[0], rows[1]);
}

TEST(Augmentation, LeavesEvaluationAlone) {
  const TemporaryDirectory folder;
  put_bytes(folder / "a.bin", cifar_bytes(0, 8));
  ImageOptions options = plain(folder / "a.bin");
  options.held_out = 0.5;
  const auto before = reals(image_dataset(options, kBatches), Split::evaluation, 0, "images");
  options.crop = 4;
  options.flip = true;
  EXPECT_EQ(reals(image_dataset(options, kBatches), Split::evaluation, 0, "images"), before);
}

TEST(Images, OfIgnoredLabelsWeighNothing) {
  const TemporaryDirectory folder;
  put_hdf5<std::uint8_t>(folder / "a.h5", {4, 3, 3}, H5Type::u8, {1, -100, 2, -100});
  ImageOptions options = plain(folder / "a.h5");
  options.ignore_label = -100;
  const Dataset data = image_dataset(options, kBatches);
  EXPECT_EQ(reals(data, Split::training, 1, "weights"), (std::vector<double>{1, 0, 1, 0}));
  EXPECT_EQ(data.total_weight(Split::training, 1), 2);
}

TEST(Images, FingerprintIsOfContentsAlone) {
  const TemporaryDirectory folder;
  put_bytes(folder / "a.bin", cifar_bytes(0, 8));
  put_bytes(folder / "b.bin", cifar_bytes(0, 8));
  put_bytes(folder / "c.bin", cifar_bytes(1, 8));
  const auto print = [&](const char* name) {
    return image_dataset(plain(folder / name), kBatches).fingerprint();
  };
  EXPECT_EQ(print("a.bin"), print("b.bin"));
  EXPECT_NE(print("a.bin"), print("c.bin"));
}

/// The message of the error with this code that opening these files gives, without the folder.
std::string refusal(const ImageOptions& options, const TemporaryDirectory& folder,
                    ExitCode code = ExitCode::bad_data) {
  try {
    (void)image_dataset(options, kBatches);
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    std::string text = error.what();
    const std::string prefix = folder.path().string() + "/";
    for (auto at = text.find(prefix); at != std::string::npos; at = text.find(prefix)) {
      text.erase(at, prefix.size());
    }
    return text;
  }
  return "no error";
}

TEST(BadImages, AreToldWithFilePlaceFoundAndExpected) {
  const TemporaryDirectory folder;
  const auto of = [&](const std::string& name, const std::vector<std::uint8_t>& bytes,
                      ImageFileFormat format = ImageFileFormat::automatic) {
    put_bytes(folder / name, bytes);
    ImageOptions options = plain(folder / name);
    options.format = format;
    return refusal(options, folder);
  };
  auto cut = cifar_bytes(0, 2);
  cut.resize(5000);
  EXPECT_EQ(of("a.bin", cut),
            "a.bin: found 5000 bytes that begin neither as HDF5 nor as IDX, nor are a multiple of "
            "3073, the record of CIFAR-10; expected one of these");
  EXPECT_EQ(of("a.bin", cut, ImageFileFormat::cifar10),
            "a.bin: has 5000 bytes, expected a multiple of 3073 (a label and 32 x 32 x 3 pixels): "
            "is it truncated?");
  EXPECT_EQ(of("a.bin", {}), "a.bin: has 0 bytes, which is no file of images");
  EXPECT_EQ(of("b.gz", {0x1f, 0x8b, 8, 0}),
            "b.gz: is compressed by gzip, which is not read: unpack it with gunzip");
  auto labels = cifar_bytes(0, 3);
  labels[2 * 3073] = 10;
  EXPECT_EQ(of("c.bin", labels), "c.bin: the label of image 2 is 10, expected one in [0, 10)");

  put_bytes(folder / "x-labels-idx1-ubyte", idx_labels(4));
  EXPECT_EQ(of("x-images-idx3-ubyte", idx_images(5, 2, 2)),
            "x-labels-idx1-ubyte: byte 4: found 4 labels, expected 5, one for each image");
  EXPECT_EQ(of("x-images-idx3-ubyte", idx_images(4, 2, 2, 0x801)),
            "x-images-idx3-ubyte: byte 0: found the magic number 0x00000801, expected 0x00000803 "
            "(IDX images of bytes); labels are found by their name");
  auto few = idx_images(4, 2, 2);
  few.pop_back();
  EXPECT_EQ(of("x-images-idx3-ubyte", few),
            "x-images-idx3-ubyte: has 31 bytes, expected 32 for 4 images of 2 x 2");
  EXPECT_EQ(of("x-images-idx3-ubyte", idx_images(1, 0, 2)),
            "x-images-idx3-ubyte: byte 8: found images of 0 x 2 pixels, expected sides from 1 to "
            "16384");
  EXPECT_EQ(of("x-images-idx3-ubyte", {0, 0, 8, 3, 0, 0}),
            "x-images-idx3-ubyte: ends at byte 6, expected 2 more");
  put_bytes(folder / "x-labels-idx1-ubyte", idx_labels(4, 0x803));
  EXPECT_EQ(of("x-images-idx3-ubyte", idx_images(4, 2, 2)),
            "x-labels-idx1-ubyte: byte 0: found the magic number 0x00000803, expected 0x00000801 "
            "(IDX labels)");
  EXPECT_EQ(of("pictures", idx_images(4, 2, 2)),
            "pictures: found no 'images' in the name, expected a name like "
            "train-images-idx3-ubyte, to which train-labels-idx1-ubyte belongs");
}

TEST(BadImages, OfHdf5AndOfSeveralFiles) {
  const TemporaryDirectory folder;
  put_hdf5<std::uint8_t>(folder / "a.h5", {3, 4, 4}, H5Type::u8, {0, 1});
  EXPECT_EQ(refusal(plain(folder / "a.h5"), folder),
            "a.h5: dataset 'label' has shape [2], expected [3], one for each image");
  put_hdf5<std::int32_t>(folder / "b.h5", {3, 4, 4}, H5Type::i32, {0, 1, 2});
  EXPECT_EQ(refusal(plain(folder / "b.h5"), folder),
            "b.h5: dataset 'image' has shape [3,4,4] of 4-byte elements, expected [n, height, "
            "width] or [n, height, width, channels] of u8, f32 or f64");
  put_hdf5<std::uint8_t>(folder / "c.h5", {3, 4, 4}, H5Type::u8, {0, 1, -1});
  EXPECT_EQ(refusal(plain(folder / "c.h5"), folder),
            "c.h5: the label of image 2 is -1, expected one in [0, 10)");
  put_hdf5<std::uint8_t>(folder / "d.h5", {3, 4, 5}, H5Type::u8, {0, 1, 2});
  put_hdf5<std::uint8_t>(folder / "e.h5", {3, 4, 4}, H5Type::u8, {0, 1, 2});
  ImageOptions two = plain(folder / "d.h5");
  two.files.push_back(folder / "e.h5");
  EXPECT_EQ(refusal(two, folder),
            "e.h5: found images [4, 4, 1] of bytes, expected [4, 5, 1] of bytes as in d.h5");
  ImageOptions other = plain(folder / "d.h5");
  other.shape = ImageShape{32, 32, 3};
  EXPECT_EQ(refusal(other, folder),
            "d.h5: found images of [height, width, channels] = [4, 5, 1], expected [32, 32, 3], "
            "which data.images.shape or the model says");
  ImageOptions mean = plain(folder / "d.h5");
  mean.mean = {0, 0, 0};
  EXPECT_EQ(refusal(mean, folder, ExitCode::configuration),
            "data.images.mean: found 3 numbers, expected one, or one for each of 1 channels");
  ImageOptions missing = plain(folder / "d.h5");
  missing.evaluation_files = {folder / "nowhere.h5"};
  EXPECT_EQ(refusal(missing, folder, ExitCode::input_missing),
            "cannot read the data in nowhere.h5: No such file or directory (errno 2)");
  fs::create_directories(folder / "packed");
  put_bytes(folder / "packed/train-images-idx3-ubyte.gz", {0x1f, 0x8b});
  EXPECT_EQ(refusal(plain(folder / "packed"), folder, ExitCode::input_missing),
            "data.images.files: found no file of images, expected *.bin, *-idx3-ubyte, *.h5 or "
            "*.hdf5; passed over 1, first packed/train-images-idx3-ubyte.gz; "
            "packed/train-images-idx3-ubyte.gz is compressed, which is not read: unpack it");
}

TEST(SyntheticImages, OfAClassAreAPatternAndUnitNoise) {
  const std::int64_t n = 2000;
  const Dataset data = synthetic_images({4, 5, 3}, 2, {.global_batch = n, .seed = 5});
  const auto images = reals(data, Split::training, 1, "images");
  const auto labels = integers(data, Split::training, 1, "labels");
  std::vector<double> mean(120, 0.0), count(2, 0.0);
  for (std::size_t s = 0; s < labels.size(); ++s) {
    const auto y = static_cast<std::size_t>(labels[s]);
    count[y] += 1;
    for (std::size_t i = 0; i < 60; ++i) mean[60 * y + i] += images[60 * s + i];
  }
  double variance = 0, apart = 0;
  for (std::size_t i = 0; i < 120; ++i) mean[i] /= count[i / 60];
  for (std::size_t i = 0; i < 60; ++i) apart += std::pow(mean[i] - mean[60 + i], 2) / 60;
  for (std::size_t s = 0; s < labels.size(); ++s) {
    for (std::size_t i = 0; i < 60; ++i) {
      const double centre = mean[60 * static_cast<std::size_t>(labels[s]) + i];
      variance += std::pow(images[60 * s + i] - centre, 2) / static_cast<double>(60 * n);
    }
  }
  EXPECT_NEAR(variance, 1.0, 0.02);
  EXPECT_GT(apart, 0.5);
}

}  // namespace
}  // namespace alpa
