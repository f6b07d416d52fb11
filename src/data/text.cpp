#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

#include "alpa/base/error.hpp"
#include "alpa/data/tokens.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"
#include "alpa/storage/hdf5.hpp"
#include "alpa/storage/sha256.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void missing(const fs::path& path, int error_number) {
  throw UserError(io_message("cannot read the data in", path, error_number),
                  ExitCode::input_missing);
}

void add_folder(const fs::path& folder, std::vector<fs::path>& files) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  if (error) missing(folder, error.value());
  const fs::recursive_directory_iterator end;
  while (entry != end) {
    const fs::path path = entry->path();
    const fs::file_status status = entry->symlink_status(error);
    if (error) missing(path, error.value());
    if (fs::is_regular_file(status)) files.push_back(path);
    entry.increment(error);
    if (error) missing(path, error.value());
  }
}

/// Changes whenever a file is added, removed, renamed or written to.
std::string fingerprint_of(std::span<const fs::path> files) {
  Sha256 sha;
  for (const fs::path& file : files) {
    struct stat info{};
    if (::stat(file.c_str(), &info) != 0) missing(file, errno);
    sha.update(escape_name(fs::absolute(file).lexically_normal().string()) + " " +
               std::to_string(info.st_size) + " " + std::to_string(info.st_mtim.tv_sec) + "." +
               std::to_string(info.st_mtim.tv_nsec) + "\n");
  }
  return sha.finish();
}

bool is_kept(const fs::path& kept, const std::string& fingerprint) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(kept, error))) return false;
  try {
    const H5Reader reader(kept, ExitCode::bad_data);
    if (reader.attribute("source") != fingerprint) return false;
    return reader.attribute("content") == read_hdf5_tokens(kept, "tokens", 256).fingerprint();
  } catch (const UserError&) {
    return false;  // a damaged copy is made anew
  }
}

}  // namespace

std::vector<fs::path> files_of(std::span<const fs::path> paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) missing(path, errno);
    if (S_ISDIR(info.st_mode)) {
      add_folder(path.lexically_normal(), files);
    } else if (S_ISREG(info.st_mode)) {
      files.push_back(path.lexically_normal());
    } else {
      throw UserError(
          "cannot read the data in " + printable(path.string()) + ": neither a file nor a folder",
          ExitCode::input_missing);
    }
  }
  const auto by_bytes = [](const fs::path& a, const fs::path& b) {
    return a.native() < b.native();
  };
  std::sort(files.begin(), files.end(), by_bytes);
  files.erase(std::unique(files.begin(), files.end()), files.end());
  for (const fs::path& file : files) {
    if (::access(file.c_str(), R_OK) != 0) missing(file, errno);
  }
  return files;
}

bool keep_text_as_tokens(std::span<const fs::path> text, const fs::path& kept) {
  const std::vector<fs::path> files = files_of(text);
  const std::string fingerprint = fingerprint_of(files);
  if (is_kept(kept, fingerprint)) return false;
  std::vector<std::uint8_t> bytes;
  for (const fs::path& file : files) {
    for_each_block(
        file,
        [&](std::span<const std::byte> block) {
          const auto* first = reinterpret_cast<const std::uint8_t*>(block.data());
          bytes.insert(bytes.end(), first, first + block.size());
        },
        ExitCode::input_missing);
  }
  if (bytes.empty()) {
    throw UserError("the data.text of " + std::to_string(text.size()) + " path(s), first " +
                        (text.empty() ? "none" : printable(text[0].string())) + ", has " +
                        std::to_string(files.size()) +
                        " regular files and no byte in them: name files with text",
                    ExitCode::bad_data);
  }
  const Tokens tokens{bytes};
  const auto image =
      hdf5_with_checksums("tokens", H5Type::u8, std::as_bytes(std::span(bytes)),
                          {{"source", fingerprint}, {"content", tokens.fingerprint()}});
  replace_file(kept, std::span<const std::byte>(image));
  return true;
}

}  // namespace alpa
