#include <cerrno>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/checkpoint/safetensors.hpp"
#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

std::string_view type_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "F64";
    case DType::f32:
      return "F32";
    case DType::bf16:
      return "BF16";
    case DType::f16:
      return "F16";
    case DType::i32:
      break;
  }
  check_failed("a floating-point dtype", SourceLine::here());
}

/// The header, filled up with spaces so that the data begins at a multiple of 8 bytes.
std::string header_of(const std::vector<SafetensorsEntry>& tensors,
                      const std::map<std::string, std::string>& metadata, std::uint64_t& bytes) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  json["__metadata__"] = metadata;
  bytes = 0;
  for (const SafetensorsEntry& tensor : tensors) {
    const DType dtype = tensor.dtype.value();
    const std::uint64_t first = bytes;
    bytes += static_cast<std::uint64_t>(num_elements(tensor.shape) * size_of(dtype));
    json[tensor.name] = {
        {"dtype", type_of(dtype)}, {"shape", tensor.shape}, {"data_offsets", {first, bytes}}};
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path,
                                     const std::vector<SafetensorsEntry>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(std::move(path)), temporary_(path_) {
  temporary_ += ".tmp";
  std::uint64_t data = 0;
  const std::string header = header_of(tensors, metadata, data);
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd_ < 0) throw SystemError(io_message("cannot create", temporary_, errno));
  const std::uint64_t length = header.size();
  missing_ = 8 + length + data;
  append(std::as_bytes(std::span(&length, 1)));
  append(std::as_bytes(std::span(header)));
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  ALPA_CHECK(bytes.size() <= missing_);
  missing_ -= bytes.size();
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      ::unlink(temporary_.c_str());
      throw SystemError(io_message("cannot write", temporary_, error));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void SafetensorsWriter::finish() {
  ALPA_CHECK(missing_ == 0);
  const int synced = ::fsync(fd_);
  const int error = errno;
  const bool closed = ::close(std::exchange(fd_, -1)) == 0;
  if (synced != 0 || !closed) {
    ::unlink(temporary_.c_str());
    throw SystemError(io_message("cannot write", temporary_, synced != 0 ? error : errno));
  }
  rename_durably(temporary_, path_);
}

}  // namespace alpa
