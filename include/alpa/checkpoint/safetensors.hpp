#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"

namespace alpa {

/// A tensor of a safetensors file: 8 bytes N, little-endian, N bytes of JSON, the data.
struct SafetensorsEntry {
  std::string name;
  Shape shape;
  std::optional<DType> dtype;  ///< of F64, F32, BF16, F16
  std::string type;            ///< as written: "F32"
  std::uint64_t offset = 0;    ///< of its first byte in the file
};

/// Reads a file that nobody vouches for, of which it holds the header alone.
class SafetensorsReader {
 public:
  /// Checks the whole header: sizes, JSON, types, that the tensors cover the data without overlap.
  /// @throws UserError 66 with path and errno if it cannot be opened; 76 with what is wrong
  explicit SafetensorsReader(std::filesystem::path path);
  ~SafetensorsReader();
  SafetensorsReader(const SafetensorsReader&) = delete;
  SafetensorsReader& operator=(const SafetensorsReader&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// In the order of their bytes.
  [[nodiscard]] const std::vector<SafetensorsEntry>& tensors() const { return tensors_; }
  [[nodiscard]] const SafetensorsEntry* find(std::string_view name) const;

  /// Elements first, first + 1, … (row-major) of a tensor with a dtype, without loss.
  /// @throws UserError 76 if the file has become shorter
  void read(const SafetensorsEntry& tensor, std::int64_t first, std::span<double> out) const;

 private:
  [[noreturn]] void refuse(const std::string& why) const;
  void read_bytes(std::uint64_t offset, std::span<std::byte> out) const;
  void parse(const std::string& header, std::uint64_t data, std::uint64_t file_size);
  void check_order(std::uint64_t data, std::uint64_t file_size) const;

  std::filesystem::path path_;
  int fd_ = -1;
  std::vector<SafetensorsEntry> tensors_;
};

/// Writes a file front to back, a tensor after the other, under a temporary name until it is whole.
class SafetensorsWriter {
 public:
  /// @param tensors with dtype f64, f32, bf16 or f16; offset and type are not looked at
  /// @throws SystemError (74) with path and errno
  SafetensorsWriter(std::filesystem::path path, const std::vector<SafetensorsEntry>& tensors,
                    const std::map<std::string, std::string>& metadata);
  /// Removes what is not finished.
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// The next bytes of the tensors in their order. @throws SystemError (74)
  void append(std::span<const std::byte> bytes);
  /// Syncs the file and gives it its name. @pre all bytes were appended  @throws SystemError (74)
  void finish();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  std::uint64_t missing_ = 0;  ///< bytes of the tensors not yet appended
};

/// How a tensor of a file holds a box of one of ours: the dimensions of `part` in another order,
/// merged into `shape`.
///
/// Example: of attention weights [e, 3, h, d] the keys are the tensor [h d, e] of part
/// [0:e, 1:2, 0:h, 0:d] in the order 1, 2, 3, 0.
struct TensorInFile {
  std::string name;
  Shape shape;
  std::string tensor;
  Box part;
  std::vector<int> order;
};

/// The elements of `part` (dense, row-major) as the file has them.
/// @param element bytes of one
[[nodiscard]] std::vector<std::byte> in_file_order(const TensorInFile& stored,
                                                   std::span<const std::byte> part,
                                                   std::int64_t element);

/// Reads what `box` of our tensor shares with `stored.part` into dense `destination`, whose dtype
/// is f64 or f32; the file's elements are rounded to it.
void read_part(const SafetensorsReader& file, const SafetensorsEntry& entry,
               const TensorInFile& stored, const Box& box, DType dtype,
               std::span<std::byte> destination);

}  // namespace alpa
