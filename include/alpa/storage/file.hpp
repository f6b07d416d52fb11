#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "alpa/base/error.hpp"

namespace alpa {

/// What an injected fault makes of one system call.
enum class IoFault : std::uint8_t {
  none,
  no_space,     ///< fails with ENOSPC
  io_error,     ///< fails with EIO
  short_write,  ///< write(2) takes only half of the bytes, as it may
  bit_flip,     ///< one bit of what is written changes, silently
};

/// Called before each system call that changes the disk with its kind: "write", "fsync", "rename"
/// or "prune". May end the process; what it returns then happens to the call. Empty: no faults.
using IoHook = std::function<IoFault(std::string_view point)>;

/// "cannot read PATH: No such file or directory (errno 2)"; the path made printable.
[[nodiscard]] std::string io_message(std::string_view action, const std::filesystem::path& path,
                                     int error_number);

/// Creates or truncates the file (never through a symbolic link), writes all bytes and syncs it to
/// the disk. On failure no half file is left. The name itself is durable after sync_directory.
/// @throws SystemError (74) with path and errno
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes,
                const IoHook& hook = {});

/// Replaces the file as one step: readers, also after a power cut, see the old or the new content.
/// @throws SystemError (74) with path and errno; the old file is then untouched
void replace_file(const std::filesystem::path& path, std::string_view content,
                  const IoHook& hook = {});
void replace_file(const std::filesystem::path& path, std::span<const std::byte> content,
                  const IoHook& hook = {});

/// Renames a file or folder and syncs the folder that holds the new name.
/// @throws SystemError (74) with path and errno
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to,
                    const IoHook& hook = {});

/// Makes the names in a folder durable. @throws SystemError (74)
void sync_directory(const std::filesystem::path& directory, const IoHook& hook = {});

/// Creates the folder and missing parents, durably. A last component that is a symbolic link or no
/// folder is refused. @throws UserError with `code`, path and errno
void make_directories(const std::filesystem::path& path, ExitCode code = ExitCode::run_directory);

/// Whole content of a regular file of at most `limit` bytes.
/// @throws SystemError (74) with path and errno, or what was found where it is larger
[[nodiscard]] std::string read_file(const std::filesystem::path& path,
                                    std::uintmax_t limit = std::uintmax_t{1} << 30U);

/// Hands out the file's bytes in order, in blocks of at most 1 MiB, and returns their number.
/// @throws SystemError with `code` (path, errno); 74 unless given
std::uintmax_t for_each_block(const std::filesystem::path& path,
                              const std::function<void(std::span<const std::byte>)>& use,
                              ExitCode code = ExitCode::io);

}  // namespace alpa
