#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alpa/base/error.hpp"
#include "alpa/data/tokens.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"

#include "images.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kCifarPixels = 3 * 32 * 32;
constexpr std::int64_t kCifarRecord = 1 + kCifarPixels;
constexpr std::uint32_t kIdxImages = 0x803;
constexpr std::uint32_t kIdxLabels = 0x801;
constexpr std::int64_t kLargestSide = 16384;  ///< so that the bytes of 2^32 images can be counted

[[noreturn]] void refuse(const fs::path& path, const std::string& why) {
  throw UserError(printable(path.string()) + ": " + why, ExitCode::bad_data);
}

std::string hex(std::uint32_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += kDigits[(value >> shift) & 15U];
  return text;
}

/// A big-endian number of an IDX header.
std::uint32_t big_endian(const ImageBytes& bytes, std::int64_t offset) {
  std::array<std::uint8_t, 4> b{};
  bytes.read(offset, b);
  return (std::uint32_t{b[0]} << 24U) | (std::uint32_t{b[1]} << 16U) | (std::uint32_t{b[2]} << 8U) |
         b[3];
}

/// Before a format is looked for: what `gzip` made is not read.
void refuse_gzip(const fs::path& path, const ImageBytes& bytes) {
  std::array<std::uint8_t, 2> first{};
  if (bytes.size() < 2)
    refuse(path, "has " + std::to_string(bytes.size()) + " bytes, which is no file of images");
  bytes.read(0, first);
  if (first[0] == 0x1f && first[1] == 0x8b) {
    refuse(path, "is compressed by gzip, which is not read: unpack it with gunzip");
  }
}

ImageFileFormat format_of(const fs::path& path, const ImageBytes& bytes) {
  std::array<std::uint8_t, 8> first{};
  bytes.read(
      0, std::span(first).first(static_cast<std::size_t>(std::min<std::int64_t>(8, bytes.size()))));
  constexpr std::array<std::uint8_t, 8> kHdf5 = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  if (first == kHdf5) return ImageFileFormat::hdf5;
  if (first[0] == 0 && first[1] == 0 && first[2] == 8) return ImageFileFormat::idx;
  if (bytes.size() % kCifarRecord == 0) return ImageFileFormat::cifar10;
  refuse(path, "found " + std::to_string(bytes.size()) +
                   " bytes that begin neither as HDF5 nor as IDX, nor are a multiple of " +
                   std::to_string(kCifarRecord) +
                   ", the record of CIFAR-10; expected one of these");
}

ImageFile open_cifar(const fs::path& path, std::shared_ptr<const ImageBytes> bytes) {
  if (bytes->size() % kCifarRecord != 0) {
    refuse(path, "has " + std::to_string(bytes->size()) + " bytes, expected a multiple of " +
                     std::to_string(kCifarRecord) +
                     " (a label and 32 x 32 x 3 pixels): is it truncated?");
  }
  ImageFile file{path, ImageFileFormat::cifar10, {32, 32, 3}, {}, std::move(bytes), {}, {}};
  std::vector<std::uint8_t> record(static_cast<std::size_t>(kCifarRecord));
  for (std::int64_t at = 0; at < file.bytes->size(); at += kCifarRecord) {
    file.bytes->read(at, std::span(record).first(1));
    file.labels.push_back(record[0]);
  }
  return file;
}

/// "train-labels-idx1-ubyte" for "train-images-idx3-ubyte".
fs::path labels_of(const fs::path& images) {
  std::string name = images.filename().string();
  const auto put = [&](std::string_view from, std::string_view to) {
    const auto at = name.find(from);
    if (at == std::string::npos) {
      refuse(images, "found no '" + std::string(from) +
                         "' in the name, expected a name like train-images-idx3-ubyte, to which "
                         "train-labels-idx1-ubyte belongs");
    }
    name.replace(at, from.size(), to);
  };
  put("images", "labels");
  put("idx3", "idx1");
  return images.parent_path() / name;
}

std::vector<std::int64_t> read_idx_labels(const fs::path& path, std::int64_t images) {
  const ImageBytes bytes(path);
  refuse_gzip(path, bytes);
  const std::uint32_t magic = big_endian(bytes, 0);
  if (magic != kIdxLabels) {
    refuse(path, "byte 0: found the magic number " + hex(magic) + ", expected " + hex(kIdxLabels) +
                     " (IDX labels)");
  }
  const std::int64_t count = big_endian(bytes, 4);
  if (count != images) {
    refuse(path, "byte 4: found " + std::to_string(count) + " labels, expected " +
                     std::to_string(images) + ", one for each image");
  }
  if (bytes.size() != 8 + count) {
    refuse(path, "has " + std::to_string(bytes.size()) + " bytes, expected " +
                     std::to_string(8 + count) + " for " + std::to_string(count) + " labels");
  }
  std::vector<std::uint8_t> labels(static_cast<std::size_t>(count));
  bytes.read(8, labels);
  return {labels.begin(), labels.end()};
}

ImageFile open_idx(const fs::path& path, std::shared_ptr<const ImageBytes> bytes) {
  const std::uint32_t magic = big_endian(*bytes, 0);
  if (magic != kIdxImages) {
    refuse(path, "byte 0: found the magic number " + hex(magic) + ", expected " + hex(kIdxImages) +
                     " (IDX images of bytes)" +
                     (magic == kIdxLabels ? "; labels are found by their name" : ""));
  }
  const std::int64_t count = big_endian(*bytes, 4);
  const ImageShape shape{big_endian(*bytes, 8), big_endian(*bytes, 12), 1};
  if (shape.height < 1 || shape.width < 1 || shape.height > kLargestSide ||
      shape.width > kLargestSide) {
    refuse(path, "byte 8: found images of " + std::to_string(shape.height) + " x " +
                     std::to_string(shape.width) + " pixels, expected sides from 1 to " +
                     std::to_string(kLargestSide));
  }
  const std::int64_t expected = 16 + count * shape.height * shape.width;
  if (bytes->size() != expected) {
    refuse(path, "has " + std::to_string(bytes->size()) + " bytes, expected " +
                     std::to_string(expected) + " for " + std::to_string(count) + " images of " +
                     std::to_string(shape.height) + " x " + std::to_string(shape.width));
  }
  auto labels = read_idx_labels(labels_of(path), count);
  return {path, ImageFileFormat::idx, shape, std::move(labels), std::move(bytes), {}, {}};
}

template <class T>
std::vector<std::int64_t> read_as(const H5Reader& reader, const H5Dataset& dataset) {
  std::vector<T> values(static_cast<std::size_t>(num_elements(dataset.shape)));
  if (!values.empty()) {
    reader.read(dataset, whole_box(dataset.shape), reinterpret_cast<std::byte*>(values.data()));
  }
  return {values.begin(), values.end()};
}

std::vector<std::int64_t> read_hdf5_labels(const fs::path& path, const H5Reader& reader,
                                           std::int64_t images) {
  const H5Dataset found = reader.describe("label");
  if (found.shape != Shape{images}) {
    refuse(path, "dataset 'label' has shape " + to_string(found.shape) + ", expected [" +
                     std::to_string(images) + "], one for each image");
  }
  switch (found.type) {
    case H5Type::u8:
      return read_as<std::uint8_t>(reader, found);
    case H5Type::u16:
      return read_as<std::uint16_t>(reader, found);
    case H5Type::u32:
      return read_as<std::uint32_t>(reader, found);
    case H5Type::i32:
      return read_as<std::int32_t>(reader, found);
    case H5Type::i64:
      return read_as<std::int64_t>(reader, found);
    case H5Type::f32:
    case H5Type::f64:
      break;
  }
  refuse(path, "dataset 'label' holds floating-point numbers, expected integers");
}

ImageFile open_hdf5(const fs::path& path) {
  auto reader = std::make_shared<const H5Reader>(path, ExitCode::bad_data);
  const H5Dataset found = reader->describe("image");
  const Shape& shape = found.shape;
  const bool right_type =
      found.type == H5Type::u8 || found.type == H5Type::f32 || found.type == H5Type::f64;
  if ((shape.size() != 3 && shape.size() != 4) || num_elements(shape) == 0 || !right_type) {
    refuse(path, "dataset 'image' has shape " + to_string(shape) + " of " +
                     std::to_string(size_of(found.type)) +
                     "-byte elements, expected [n, height, width] or [n, height, width, channels] "
                     "of u8, f32 or f64");
  }
  auto labels = read_hdf5_labels(path, *reader, shape[0]);
  const ImageShape image{shape[1], shape[2], shape.size() == 4 ? shape[3] : 1};
  return {path, ImageFileFormat::hdf5, image, std::move(labels), {}, std::move(reader), found};
}

bool ends_with_any(const std::string& name, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return name.ends_with(ending); });
}

bool is_image_name(const std::string& name) {
  return ends_with_any(name, {".bin", "idx3-ubyte", ".h5", ".hdf5"});
}

}  // namespace

ImageBytes::ImageBytes(const fs::path& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info{};
  if (fd_ < 0 || ::fstat(fd_, &info) != 0) {
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    throw UserError(io_message("cannot read the data in", path, error), ExitCode::input_missing);
  }
  size_ = info.st_size;
}

ImageBytes::~ImageBytes() { ::close(fd_); }

void ImageBytes::read(std::int64_t offset, std::span<std::uint8_t> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(fd_, out.data() + done, out.size() - done,
                                static_cast<off_t>(offset) + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      throw UserError(io_message("cannot read the data in", path_, errno), ExitCode::input_missing);
    }
    if (got == 0) {
      refuse(path_, "ends at byte " + std::to_string(offset + static_cast<std::int64_t>(done)) +
                        ", expected " + std::to_string(out.size() - done) + " more");
    }
    done += static_cast<std::size_t>(got);
  }
}

void ImageFile::read(std::int64_t image, std::span<double> out) const {
  const std::int64_t size = shape.height * shape.width * shape.channels;
  const auto n = static_cast<std::size_t>(size);
  ALPA_CHECK(out.size() == n);
  const auto scaled = [](std::uint8_t byte) { return static_cast<double>(byte) / 255.0; };
  if (of_reals()) {
    Box box = whole_box(dataset.shape);
    box.offset[0] = image;
    box.extent[0] = 1;
    if (dataset.type == H5Type::f64) {
      hdf5->read(dataset, box, reinterpret_cast<std::byte*>(out.data()));
      return;
    }
    std::vector<float> reals(n);
    hdf5->read(dataset, box, reinterpret_cast<std::byte*>(reals.data()));
    std::copy(reals.begin(), reals.end(), out.begin());
    return;
  }
  std::vector<std::uint8_t> pixels(n);
  if (hdf5) {
    Box box = whole_box(dataset.shape);
    box.offset[0] = image;
    box.extent[0] = 1;
    hdf5->read(dataset, box, reinterpret_cast<std::byte*>(pixels.data()));
  } else {
    const bool cifar = format == ImageFileFormat::cifar10;
    bytes->read(cifar ? image * kCifarRecord + 1 : 16 + image * size, pixels);
  }
  // CIFAR-10 keeps one channel after the other: pixel p of channel c goes to 3 p + c.
  const std::size_t planes = format == ImageFileFormat::cifar10 ? 3 : 1;
  const std::size_t plane = n / planes;
  for (std::size_t i = 0; i < n; ++i) out[i % plane * planes + i / plane] = scaled(pixels[i]);
}

FoundImages find_images(std::span<const fs::path> paths, const std::string& key) {
  FoundImages found;
  std::vector<fs::path> passed;
  for (const fs::path& path : paths) {
    std::error_code error;
    const bool folder = fs::is_directory(path, error);
    for (const fs::path& file : files_of(std::array<fs::path, 1>{path})) {
      const std::string name = file.filename().string();
      if (folder && !is_image_name(name)) {
        passed.push_back(file);
        continue;
      }
      const bool held_out = folder && (name.starts_with("t10k-") || name.starts_with("test_batch"));
      (held_out ? found.evaluation : found.training).push_back(file);
    }
  }
  for (auto* files : {&found.training, &found.evaluation}) {
    std::sort(files->begin(), files->end());
    files->erase(std::unique(files->begin(), files->end()), files->end());
  }
  if (!found.training.empty() || !found.evaluation.empty()) return found;
  const auto packed = std::find_if(passed.begin(), passed.end(),
                                   [](const fs::path& file) { return file.extension() == ".gz"; });
  std::string why = key + ": found no file of images, expected *.bin, *-idx3-ubyte, *.h5 or *.hdf5";
  if (!passed.empty()) {
    why += "; passed over " + std::to_string(passed.size()) + ", first " +
           printable(passed[0].string());
  }
  if (packed != passed.end()) {
    why += "; " + printable(packed->string()) + " is compressed, which is not read: unpack it";
  }
  throw UserError(why, ExitCode::input_missing);
}

ImageFile open_images(const fs::path& path, ImageFileFormat format) {
  auto bytes = std::make_shared<const ImageBytes>(path);
  refuse_gzip(path, *bytes);
  if (format == ImageFileFormat::automatic) format = format_of(path, *bytes);
  if (format == ImageFileFormat::cifar10) return open_cifar(path, std::move(bytes));
  if (format == ImageFileFormat::idx) return open_idx(path, std::move(bytes));
  return open_hdf5(path);
}

}  // namespace alpa
