#include "images.hpp"

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/data/permutation.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/sha256.hpp"

#include "source.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

/// Images whose pixels a fingerprint looks at.
constexpr std::int64_t kFingerprinted = 1024;

struct Scaling {
  std::vector<double> mean, deviation;
};

/// Of the training images of CIFAR-10, MNIST and ImageNet, with pixels in [0, 1].
Scaling scaling_of(const ImageFile& file) {
  switch (file.format) {
    case ImageFileFormat::cifar10:
      return {{0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616}};
    case ImageFileFormat::idx:
      return {{0.1307}, {0.3081}};
    case ImageFileFormat::hdf5:
    case ImageFileFormat::automatic:
      break;
  }
  if (file.of_reals()) return {{0.0}, {1.0}};
  if (file.shape.channels == 3) return {{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}};
  return {{0.5}, {0.5}};
}

std::vector<double> per_channel(const std::string& key, const std::vector<double>& given,
                                const std::vector<double>& otherwise, std::int64_t channels) {
  const std::vector<double>& values = given.empty() ? otherwise : given;
  const auto n = static_cast<std::size_t>(channels);
  if (values.size() == n) return values;
  if (values.size() == 1) return std::vector<double>(n, values[0]);
  throw UserError("data.images." + key + ": found " + std::to_string(values.size()) +
                  " numbers, expected one, or one for each of " + std::to_string(channels) +
                  " channels");
}

std::string kind_of(const ImageFile& file) {
  return to_string(file.shape) + (file.of_reals() ? " of reals" : " of bytes");
}

std::int64_t num_images(const ImageFile& file) {
  return static_cast<std::int64_t>(file.labels.size());
}

/// Moves the image by (down, right) pixels; what comes in from outside is 0.
void shift(std::span<double> pixels, const ImageShape& shape, std::int64_t down,
           std::int64_t right) {
  const std::vector<double> before(pixels.begin(), pixels.end());
  const auto at = [&](std::int64_t y, std::int64_t x) {
    return static_cast<std::size_t>((y * shape.width + x) * shape.channels);
  };
  std::fill(pixels.begin(), pixels.end(), 0.0);
  for (std::int64_t y = 0; y < shape.height; ++y) {
    for (std::int64_t x = 0; x < shape.width; ++x) {
      const std::int64_t from_y = y - down;
      const std::int64_t from_x = x - right;
      if (from_y < 0 || from_y >= shape.height || from_x < 0 || from_x >= shape.width) continue;
      std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(at(from_y, from_x)), shape.channels,
                  pixels.begin() + static_cast<std::ptrdiff_t>(at(y, x)));
    }
  }
}

void mirror(std::span<double> pixels, const ImageShape& shape) {
  for (std::int64_t y = 0; y < shape.height; ++y) {
    for (std::int64_t x = 0; x < shape.width / 2; ++x) {
      const auto left = static_cast<std::size_t>((y * shape.width + x) * shape.channels);
      const auto right =
          static_cast<std::size_t>((y * shape.width + shape.width - 1 - x) * shape.channels);
      for (std::size_t c = 0; c < static_cast<std::size_t>(shape.channels); ++c) {
        std::swap(pixels[left + c], pixels[right + c]);
      }
    }
  }
}

}  // namespace

Images::Images(const ImageOptions& options, std::uint64_t seed) : options_(options), seed_(seed) {
  ALPA_CHECK(options.held_out >= 0 && options.held_out < 1 && options.crop >= 0);
  FoundImages found = find_images(options.files, "data.images.files");
  if (!options.evaluation_files.empty()) {
    FoundImages given = find_images(options.evaluation_files, "data.images.evaluation_files");
    found.evaluation = std::move(given.training);
    found.evaluation.insert(found.evaluation.end(), given.evaluation.begin(),
                            given.evaluation.end());
  }
  std::int64_t of_training_files = 0;
  const auto open = [&](const std::vector<fs::path>& paths) {
    for (const fs::path& path : paths) {
      files_.push_back(open_images(path, options.format));
      check(files_.back());
      first_.push_back(all_);
      all_ += num_images(files_.back());
    }
  };
  open(found.training);
  of_training_files = all_;
  open(found.evaluation);
  std::int64_t held_out = 0;
  if (found.evaluation.empty() && options.held_out > 0) {
    held_out = static_cast<std::int64_t>(static_cast<double>(all_) * options.held_out);
    held_out = std::max<std::int64_t>(1, held_out);
  }
  training_ = of_training_files - held_out;
  if (training_ < 1) {
    throw UserError("data.images: found " + std::to_string(of_training_files) +
                        " images in the files for training, of which " + std::to_string(held_out) +
                        " are held out; expected one or more to train on",
                    ExitCode::bad_data);
  }
  shape_ = files_.front().shape;
  const Scaling scaling = scaling_of(files_.front());
  mean_ = per_channel("mean", options.mean, scaling.mean, shape_.channels);
  deviation_ = per_channel("deviation", options.deviation, scaling.deviation, shape_.channels);
}

void Images::check(const ImageFile& file) const {
  const std::string name = printable(file.path.string());
  if (kind_of(file) != kind_of(files_.front())) {
    throw UserError(name + ": found images " + kind_of(file) + ", expected " +
                        kind_of(files_.front()) + " as in " +
                        printable(files_.front().path.string()),
                    ExitCode::bad_data);
  }
  if (options_.shape && file.shape != *options_.shape) {
    throw UserError(name + ": found images of [height, width, channels] = " +
                        to_string(file.shape) + ", expected " + to_string(*options_.shape) +
                        ", which data.images.shape or the model says",
                    ExitCode::bad_data);
  }
  for (std::size_t i = 0; i < file.labels.size(); ++i) {
    const std::int64_t label = file.labels[i];
    const bool fits = label >= 0 && label < (options_.classes > 0 ? options_.classes : 1LL << 31);
    if (fits || !counts(label)) continue;
    throw UserError(name + ": the label of image " + std::to_string(i) + " is " +
                        std::to_string(label) + ", expected one in [0, " +
                        std::to_string(options_.classes > 0 ? options_.classes : 1LL << 31) + ")",
                    ExitCode::bad_data);
  }
}

bool Images::counts(std::int64_t label) const { return label != options_.ignore_label; }

std::vector<Field> Images::fields() const { return image_fields(shape_); }

std::int64_t Images::num_evaluation_samples() const { return all_ - training_; }

std::int64_t Images::index_of(SampleId sample) const {
  if (sample.split == Split::evaluation) return training_ + sample.number;
  const std::int64_t place = sample.number % training_;
  if (!options_.shuffle) return place;
  return permuted(place, training_,
                  epoch_key(stream_key(seed_, "data.order"), sample.number / training_));
}

Images::Place Images::place_of(std::int64_t index) const {
  const auto after = std::upper_bound(first_.begin(), first_.end(), index);
  const auto file = static_cast<std::size_t>(after - first_.begin()) - 1;
  return {&files_[file], index - first_[file]};
}

double Images::weight(SampleId sample) const {
  const Place place = place_of(index_of(sample));
  return counts(place.file->labels[static_cast<std::size_t>(place.image)]) ? 1.0 : 0.0;
}

void Images::integers(std::string_view /*field*/, SampleId sample,
                      std::span<std::int32_t> row) const {
  const Place place = place_of(index_of(sample));
  const std::int64_t label = place.file->labels[static_cast<std::size_t>(place.image)];
  row[0] = counts(label) ? static_cast<std::int32_t>(label) : 0;
}

/// Crop and flip: windows of the image's size in the image with zeros around it, so a shift by up
/// to `crop` pixels each way.
void Images::augment(SampleId sample, std::span<double> pixels) const {
  if (sample.split != Split::training) return;
  const auto epoch = static_cast<std::uint64_t>(sample.number / training_);
  const auto bits = philox(stream_key(seed_, "data.augmentation"), epoch,
                           static_cast<std::uint64_t>(index_of(sample)));
  if (options_.crop > 0) {
    const auto draw = [&](std::uint32_t word) {
      const double unit = static_cast<double>(word) * 0x1p-32;
      return options_.crop - below(unit, 2 * options_.crop + 1);
    };
    shift(pixels, shape_, draw(bits[0]), draw(bits[1]));
  }
  if (options_.flip && (bits[2] & 1U) != 0) mirror(pixels, shape_);
}

void Images::reals(std::string_view field, SampleId sample, std::span<double> row) const {
  if (field == "weights") {
    row[0] = weight(sample);
    return;
  }
  const Place place = place_of(index_of(sample));
  place.file->read(place.image, row);
  const std::size_t channels = mean_.size();
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] = (row[i] - mean_[i % channels]) / deviation_[i % channels];
  }
  augment(sample, row);
}

std::string Images::fingerprint() const {
  Sha256 sha;
  for (const ImageFile& file : files_) {
    sha.update(kind_of(file) + " " + std::to_string(file.labels.size()) + "\n");
    sha.update(std::as_bytes(std::span(file.labels)));
  }
  std::vector<double> pixels(
      static_cast<std::size_t>(shape_.height * shape_.width * shape_.channels));
  const std::int64_t looked_at = std::min(all_, kFingerprinted);
  for (std::int64_t i = 0; i < looked_at; ++i) {
    const Place place = place_of(i * all_ / looked_at);
    place.file->read(place.image, pixels);
    sha.update(std::as_bytes(std::span(pixels)));
  }
  return sha.finish();
}

}  // namespace alpa
