#include "alpa/storage/file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "alpa/storage/escape.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = std::size_t{1} << 20U;

/// An open file, closed on every way out.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  /// Network file systems report a full disk only here.
  [[nodiscard]] bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

[[noreturn]] void fail(std::string_view action, const fs::path& path, int error_number) {
  throw SystemError(io_message(action, path, error_number));
}

/// errno of the fault to simulate, 0 if the call is to be made.
int injected_error(IoFault fault) {
  if (fault == IoFault::no_space) return ENOSPC;
  if (fault == IoFault::io_error) return EIO;
  return 0;
}

IoFault ask(const IoHook& hook, std::string_view point) {
  return hook ? hook(point) : IoFault::none;
}

/// One write(2) of at most a block under a fault. Returns as write does.
ssize_t write_block(int fd, std::span<const std::byte> bytes, IoFault fault) {
  if (const int error = injected_error(fault); error != 0) {
    errno = error;
    return -1;
  }
  if (fault == IoFault::short_write) return ::write(fd, bytes.data(), (bytes.size() + 1) / 2);
  if (fault == IoFault::bit_flip && !bytes.empty()) {
    std::vector<std::byte> changed(bytes.begin(), bytes.end());
    changed[changed.size() / 2] ^= std::byte{0x10};
    return ::write(fd, changed.data(), changed.size());
  }
  return ::write(fd, bytes.data(), bytes.size());
}

void write_all(int fd, const fs::path& path, std::span<const std::byte> bytes, const IoHook& hook) {
  while (!bytes.empty()) {
    const auto block = bytes.first(std::min(bytes.size(), kBlock));
    const ssize_t written = write_block(fd, block, ask(hook, "write"));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void sync(int fd, const fs::path& path, const IoHook& hook) {
  if (const int error = injected_error(ask(hook, "fsync")); error != 0) {
    fail("cannot sync", path, error);
  }
  if (::fsync(fd) != 0) fail("cannot sync", path, errno);
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

}  // namespace

std::string io_message(std::string_view action, const fs::path& path, int error_number) {
  return std::string(action) + " " + printable(path.string()) + ": " +
         std::generic_category().message(error_number) + " (errno " + std::to_string(error_number) +
         ")";
}

void write_file(const fs::path& path, std::span<const std::byte> bytes, const IoHook& hook) {
  Descriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file.valid()) fail("cannot create", path, errno);
  try {
    write_all(file.get(), path, bytes, hook);
    sync(file.get(), path, hook);
    if (!file.close()) fail("cannot write", path, errno);
  } catch (const SystemError&) {
    ::unlink(path.c_str());
    throw;
  }
}

void replace_file(const fs::path& path, std::span<const std::byte> content, const IoHook& hook) {
  fs::path temporary = path;
  temporary += ".tmp";
  write_file(temporary, content, hook);
  try {
    rename_durably(temporary, path, hook);
  } catch (const SystemError&) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void replace_file(const fs::path& path, std::string_view content, const IoHook& hook) {
  replace_file(path, std::as_bytes(std::span(content.data(), content.size())), hook);
}

void rename_durably(const fs::path& from, const fs::path& to, const IoHook& hook) {
  const std::string action = "cannot rename " + printable(from.string()) + " to";
  if (const int error = injected_error(ask(hook, "rename")); error != 0) fail(action, to, error);
  if (::rename(from.c_str(), to.c_str()) != 0) fail(action, to, errno);
  sync_directory(parent_of(to), hook);
}

void sync_directory(const fs::path& directory, const IoHook& hook) {
  const Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) fail("cannot open folder", directory, errno);
  if (const int error = injected_error(ask(hook, "fsync")); error != 0) {
    fail("cannot sync", directory, error);
  }
  // Some network file systems cannot sync a folder; they make names durable at once.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) fail("cannot sync", directory, errno);
}

void make_directories(const fs::path& path, ExitCode code) {
  const fs::path clean = path.lexically_normal();
  struct stat info{};
  if (::lstat(clean.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return;
    throw UserError(printable(clean.string()) + " exists and is not a folder" +
                        (S_ISLNK(info.st_mode) ? " but a symbolic link" : "") +
                        ": remove it or name another folder",
                    code);
  }
  const fs::path parent = parent_of(clean);
  std::error_code error;
  if (!fs::is_directory(parent, error)) make_directories(parent, code);
  if (::mkdir(clean.c_str(), 0755) != 0 && errno != EEXIST) {
    throw UserError(io_message("cannot create folder", clean, errno), code);
  }
  sync_directory(parent);
}

std::string read_file(const fs::path& path, std::uintmax_t limit) {
  std::string content;
  for_each_block(path, [&](std::span<const std::byte> block) {
    if (content.size() + block.size() > limit) {
      throw SystemError(printable(path.string()) + " is larger than the " + std::to_string(limit) +
                        " bytes expected of such a file");
    }
    content.append(reinterpret_cast<const char*>(block.data()), block.size());
  });
  return content;
}

std::uintmax_t for_each_block(const fs::path& path,
                              const std::function<void(std::span<const std::byte>)>& use,
                              ExitCode code) {
  // O_NONBLOCK: opening a pipe that nobody writes must not wait for ever.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!file.valid()) throw SystemError(io_message("cannot read", path, errno), code);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) {
    throw SystemError(io_message("cannot read", path, errno), code);
  }
  if (!S_ISREG(info.st_mode)) {
    throw SystemError("cannot read " + printable(path.string()) + ": not a regular file", code);
  }
  std::vector<std::byte> buffer(kBlock);
  std::uintmax_t total = 0;
  for (;;) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError(io_message("cannot read", path, errno), code);
    if (got == 0) return total;
    total += static_cast<std::uintmax_t>(got);
    use(std::span(buffer.data(), static_cast<std::size_t>(got)));
  }
}

}  // namespace alpa
