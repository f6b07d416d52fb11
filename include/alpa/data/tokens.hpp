#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace alpa {

/// A long sequence of token ids in memory, each known to be below the vocabulary. Copies share it.
class Tokens {
 public:
  using Ids = std::variant<std::vector<std::uint8_t>, std::vector<std::uint16_t>,
                           std::vector<std::uint32_t>>;

  /// @pre every id is below 2^31
  explicit Tokens(Ids ids);

  [[nodiscard]] std::int64_t size() const;
  [[nodiscard]] std::int32_t operator[](std::int64_t position) const;
  /// SHA-256 of the ids: the same for equal sequences, however they were stored.
  [[nodiscard]] std::string fingerprint() const;

 private:
  std::shared_ptr<const Ids> ids_;
};

/// The regular files that `paths` (files or folders) name, each once, in byte order of their paths.
/// Links inside folders are not followed.
/// @throws UserError (66) with path and errno for what is missing or unreadable
[[nodiscard]] std::vector<std::filesystem::path> files_of(
    std::span<const std::filesystem::path> paths);

/// Reads text byte by byte (vocabulary 256) and keeps it as an HDF5 file of tokens at `kept`, in
/// one step. Does nothing if `kept` already holds these files (paths, sizes, times of change).
/// Returns whether it was written. One rank calls this before the others read `kept`.
/// @throws UserError 66 as files_of; 65 if there is no byte; SystemError 74 if `kept` fails
bool keep_text_as_tokens(std::span<const std::filesystem::path> text,
                         const std::filesystem::path& kept);

/// The dataset of each file, one-dimensional, of 8-, 16- or 32-bit unsigned or 32- or 64-bit signed
/// integers; the files one after the other as `paths` names them.
/// @throws UserError 66 (path, errno) if missing; 65 (file, and position and value of a bad id) if
/// damaged or an id is not in [0, vocabulary)
[[nodiscard]] Tokens read_hdf5_tokens(std::span<const std::filesystem::path> paths,
                                      const std::string& dataset, std::int64_t vocabulary);
[[nodiscard]] Tokens read_hdf5_tokens(const std::filesystem::path& file, const std::string& dataset,
                                      std::int64_t vocabulary);

enum class TokenWidth : std::uint8_t { bits16 = 2, bits32 = 4 };

/// Raw little-endian unsigned integers, the files of `paths` one after the other.
/// @throws UserError 66 as files_of; 65 (file, and position and value) if a file is cut inside an
/// id or an id is not in [0, vocabulary)
[[nodiscard]] Tokens read_raw_tokens(std::span<const std::filesystem::path> paths, TokenWidth width,
                                     std::int64_t vocabulary);

}  // namespace alpa
