#include "alpa/data/tokens.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/base/overloaded.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/hdf5.hpp"
#include "alpa/storage/sha256.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

/// Refuses the first id that is not below the vocabulary. `first`: position in the file of ids[0].
template <class Id>
void check_ids(std::span<const Id> ids, std::int64_t vocabulary, const fs::path& file,
               std::size_t first) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<std::int64_t>(ids[i]);
    if (id >= 0 && id < vocabulary) continue;
    throw UserError(printable(file.string()) + ": token " + std::to_string(first + i) + " is " +
                        std::to_string(id) + ", expected an id in [0, " +
                        std::to_string(vocabulary) +
                        "): is the file meant for another vocabulary or width?",
                    ExitCode::bad_data);
  }
}

template <class Id>
std::vector<Id> read_elements(const H5Reader& reader, const H5Dataset& dataset,
                              const fs::path& file, std::int64_t vocabulary) {
  std::vector<Id> ids(static_cast<std::size_t>(dataset.shape[0]));
  if (!ids.empty()) {
    reader.read(dataset, whole_box(dataset.shape), reinterpret_cast<std::byte*>(ids.data()));
  }
  check_ids(std::span<const Id>(ids), vocabulary, file, 0);
  return ids;
}

/// Appends the ids of one file, a block at a time. Blocks are a multiple of any id's size except
/// possibly where a read was cut short, so bytes left over wait for the next block.
template <class Id>
void append_raw(std::vector<Id>& ids, const fs::path& file, std::int64_t vocabulary) {
  const std::size_t first = ids.size();
  std::vector<std::byte> waiting;
  for_each_block(
      file,
      [&](std::span<const std::byte> block) {
        waiting.insert(waiting.end(), block.begin(), block.end());
        const std::size_t whole = waiting.size() / sizeof(Id);
        const std::size_t at = ids.size();
        ids.resize(at + whole);
        std::memcpy(ids.data() + at, waiting.data(), whole * sizeof(Id));
        waiting.erase(waiting.begin(),
                      waiting.begin() + static_cast<std::ptrdiff_t>(whole * sizeof(Id)));
        check_ids(std::span<const Id>(ids).subspan(at), vocabulary, file, at - first);
      },
      ExitCode::input_missing);
  if (!waiting.empty()) {
    throw UserError(printable(file.string()) + ": ends inside a token, after " +
                        std::to_string(ids.size() - first) + " tokens of " +
                        std::to_string(sizeof(Id)) + " bytes and " +
                        std::to_string(waiting.size()) +
                        " bytes: is it truncated, or of another width?",
                    ExitCode::bad_data);
  }
}

template <class Id>
Tokens read_raw(std::span<const fs::path> paths, std::int64_t vocabulary) {
  std::vector<Id> ids;
  for (const fs::path& file : files_of(paths)) append_raw(ids, file, vocabulary);
  return Tokens(std::move(ids));
}

}  // namespace

Tokens::Tokens(Ids ids) : ids_(std::make_shared<const Ids>(std::move(ids))) {}

std::int64_t Tokens::size() const {
  return std::visit([](const auto& ids) { return static_cast<std::int64_t>(ids.size()); }, *ids_);
}

std::int32_t Tokens::operator[](std::int64_t position) const {
  return std::visit(
      [position](const auto& ids) {
        const auto at = static_cast<std::size_t>(position);
        ALPA_CHECK(at < ids.size());
        return static_cast<std::int32_t>(ids[at]);
      },
      *ids_);
}

std::string Tokens::fingerprint() const {
  Sha256 sha;
  std::array<std::uint32_t, 4096> block{};
  for (std::int64_t at = 0; at < size();) {
    std::size_t n = 0;
    for (; n < block.size() && at < size(); ++n, ++at) {
      block[n] = static_cast<std::uint32_t>((*this)[at]);
    }
    sha.update(std::as_bytes(std::span(block).first(n)));
  }
  return sha.finish();
}

Tokens read_hdf5_tokens(const fs::path& file, const std::string& dataset, std::int64_t vocabulary) {
  const std::array<fs::path, 1> paths = {file};
  static_cast<void>(files_of(paths));  // what is missing is told with its errno
  const H5Reader reader(file, ExitCode::bad_data);
  const H5Dataset found = reader.describe(dataset);
  if (found.shape.size() != 1) {
    throw UserError(printable(file.string()) + ": dataset '" + printable(dataset) + "' has shape " +
                        to_string(found.shape) + ", expected one dimension of token ids",
                    ExitCode::bad_data);
  }
  switch (found.type) {
    case H5Type::u8:
      return Tokens(read_elements<std::uint8_t>(reader, found, file, vocabulary));
    case H5Type::u16:
      return Tokens(read_elements<std::uint16_t>(reader, found, file, vocabulary));
    case H5Type::u32:
      return Tokens(read_elements<std::uint32_t>(reader, found, file, vocabulary));
    case H5Type::i32: {
      const auto ids = read_elements<std::int32_t>(reader, found, file, vocabulary);
      return Tokens(std::vector<std::uint32_t>(ids.begin(), ids.end()));
    }
    case H5Type::i64: {  // what numpy makes by default
      const auto ids = read_elements<std::int64_t>(reader, found, file, vocabulary);
      return Tokens(std::vector<std::uint32_t>(ids.begin(), ids.end()));
    }
    case H5Type::f32:
    case H5Type::f64:
      break;
  }
  throw UserError(printable(file.string()) + ": dataset '" + printable(dataset) +
                      "' holds floating-point numbers, expected integers",
                  ExitCode::bad_data);
}

Tokens read_hdf5_tokens(std::span<const fs::path> paths, const std::string& dataset,
                        std::int64_t vocabulary) {
  if (paths.size() == 1) return read_hdf5_tokens(paths[0], dataset, vocabulary);
  std::vector<std::uint32_t> ids;
  for (const fs::path& path : paths) {
    const Tokens part = read_hdf5_tokens(path, dataset, vocabulary);
    for (std::int64_t i = 0; i < part.size(); ++i)
      ids.push_back(static_cast<std::uint32_t>(part[i]));
  }
  return Tokens(std::move(ids));
}

Tokens read_raw_tokens(std::span<const fs::path> paths, TokenWidth width, std::int64_t vocabulary) {
  return width == TokenWidth::bits16 ? read_raw<std::uint16_t>(paths, vocabulary)
                                     : read_raw<std::uint32_t>(paths, vocabulary);
}

}  // namespace alpa
