#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/error.hpp"
#include "alpa/base/shape.hpp"

namespace alpa {

/// Element types of datasets, little-endian in the file.
enum class H5Type : std::uint8_t { f64, f32, i32, i64, u8, u16, u32 };

/// How a tensor's elements are stored; 16-bit floating-point formats as their bits.
[[nodiscard]] H5Type storage_type(DType type);
[[nodiscard]] std::int64_t size_of(H5Type type);

/// The library is not thread-safe: every function below holds this lock while it calls it.
[[nodiscard]] std::unique_lock<std::recursive_mutex> hdf5_lock();

using H5Attributes = std::vector<std::pair<std::string, std::string>>;

struct H5Dataset {
  std::string name;  ///< one link in the root group, see escape_name
  Shape shape;
  H5Type type = H5Type::f32;
};

/// An HDF5 file in memory whose datasets are contiguous and empty: element 0 of dataset i belongs
/// at byte offset[i]. To be filled by copies and written by write_file: a file that the library
/// itself writes is lost when the process is killed before a flush.
struct H5Layout {
  std::vector<std::byte> image;
  std::vector<std::size_t> offset;
};

/// @throws SystemError (74) if the library fails
[[nodiscard]] H5Layout lay_out_hdf5(std::span<const H5Dataset> datasets,
                                    const H5Attributes& attributes);

/// A file with one one-dimensional dataset in chunks that carry checksums (fletcher32).
[[nodiscard]] std::vector<std::byte> hdf5_with_checksums(const std::string& name, H5Type type,
                                                         std::span<const std::byte> elements,
                                                         const H5Attributes& attributes);

/// `box` of a virtual dataset is the whole of `dataset` in `file`, a path relative to its own
/// folder.
struct H5Part {
  std::string file;
  std::string dataset;
  Box box;
};

struct H5VirtualDataset {
  H5Dataset dataset;
  std::vector<H5Part> parts;
};

/// A file that shows pieces in other files as whole datasets (a scalar as an external link).
[[nodiscard]] std::vector<std::byte> hdf5_of_virtual_datasets(
    std::span<const H5VirtualDataset> datasets, const H5Attributes& attributes);

/// Reads a file that nobody vouches for. External storage, external and soft links, virtual
/// datasets, filters other than deflate, shuffle and fletcher32, and datasets that declare more
/// data than the file can hold are refused.
class H5Reader {
 public:
  /// Errors found in the file are thrown as UserError with `code`, naming the file.
  H5Reader(std::filesystem::path path, ExitCode code);
  ~H5Reader();
  H5Reader(const H5Reader&) = delete;
  H5Reader& operator=(const H5Reader&) = delete;

  /// Name, shape and type of one dataset; integers wider than 32 bits are refused.
  [[nodiscard]] H5Dataset describe(const std::string& name) const;
  /// The file's attribute, or an empty string.
  [[nodiscard]] std::string attribute(const std::string& name) const;
  /// Reads `box` of a dataset that must be exactly `expected`, dense and row-major, into
  /// `destination`: num_elements(box.extent) elements of expected.type.
  void read(const H5Dataset& expected, const Box& box, std::byte* destination) const;

 private:
  [[noreturn]] void refuse(const std::string& why) const;
  [[nodiscard]] std::int64_t open_checked(const std::string& name) const;
  void check_storage(std::int64_t dataset, const std::string& name) const;

  std::filesystem::path path_;
  ExitCode code_;
  std::int64_t file_ = -1;
};

}  // namespace alpa
