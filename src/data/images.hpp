#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "alpa/data/dataset.hpp"
#include "alpa/storage/hdf5.hpp"

namespace alpa {

/// A file open for reading at any place.
class ImageBytes {
 public:
  /// @throws UserError 66 with path and errno
  explicit ImageBytes(const std::filesystem::path& path);
  ~ImageBytes();
  ImageBytes(const ImageBytes&) = delete;
  ImageBytes& operator=(const ImageBytes&) = delete;

  [[nodiscard]] std::int64_t size() const { return size_; }
  /// @throws UserError 65 with the place if the file ends before
  void read(std::int64_t offset, std::span<std::uint8_t> out) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  std::int64_t size_ = 0;
};

/// One file of images: pixels on request, labels in memory.
struct ImageFile {
  std::filesystem::path path;
  ImageFileFormat format = ImageFileFormat::idx;
  ImageShape shape;
  std::vector<std::int64_t> labels;         ///< one per image
  std::shared_ptr<const ImageBytes> bytes;  ///< cifar10, idx
  std::shared_ptr<const H5Reader> hdf5;
  H5Dataset dataset;  ///< of hdf5

  [[nodiscard]] bool of_reals() const { return !bytes && dataset.type != H5Type::u8; }
  /// The pixels [height, width, channels] of one image; of bytes divided by 255.
  void read(std::int64_t image, std::span<double> out) const;
};

/// What `paths` name, sorted; of folders only files of images.
struct FoundImages {
  std::vector<std::filesystem::path> training;
  std::vector<std::filesystem::path> evaluation;  ///< of folders, by their names
};
/// @throws UserError 66 for what is missing, or if there is no image file
[[nodiscard]] FoundImages find_images(std::span<const std::filesystem::path> paths,
                                      const std::string& key);

/// @throws UserError 65 with file, place, found and expected
[[nodiscard]] ImageFile open_images(const std::filesystem::path& path, ImageFileFormat format);

}  // namespace alpa
