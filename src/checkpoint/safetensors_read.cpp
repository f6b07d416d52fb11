#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/base/low_precision.hpp"
#include "alpa/checkpoint/safetensors.hpp"
#include "alpa/storage/escape.hpp"
#include "alpa/storage/file.hpp"

namespace alpa {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kLongestHeader =
    100'000'000;  ///< bytes, as the format's own library has it
constexpr std::string_view kMetadata = "__metadata__";

struct KnownType {
  std::string_view name;
  std::uint64_t size;
  std::optional<DType> dtype;
};
constexpr std::array<KnownType, 15> kTypes = {{{"F64", 8, DType::f64},
                                               {"F32", 4, DType::f32},
                                               {"F16", 2, DType::f16},
                                               {"BF16", 2, DType::bf16},
                                               {"I64", 8, {}},
                                               {"I32", 4, {}},
                                               {"I16", 2, {}},
                                               {"I8", 1, {}},
                                               {"U64", 8, {}},
                                               {"U32", 4, {}},
                                               {"U16", 2, {}},
                                               {"U8", 1, {}},
                                               {"BOOL", 1, {}},
                                               {"F8_E4M3", 1, {}},
                                               {"F8_E5M2", 1, {}}}};

const KnownType* type_named(std::string_view name) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(),
                                  [name](const KnownType& type) { return type.name == name; });
  return found == kTypes.end() ? nullptr : &*found;
}

/// Reads the header into `json`; returns what is wrong with it, or nothing.
std::string parse_header(const std::string& header, Json& json) {
  std::set<std::string> names;
  std::string twice;
  const auto look = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth == 1 && event == Json::parse_event_t::key) {
      const auto name = value.get<std::string>();
      if (!names.insert(name).second) twice = name;
    }
    return true;
  };
  json = Json::parse(header, look, false);
  if (json.is_discarded()) return "the header is not JSON";
  if (!json.is_object()) return "the header is not a JSON object";
  return twice.empty() ? "" : "the header names tensor " + twice + " twice";
}

bool is_list_of_counts(const Json& json) {
  return json.is_array() && std::all_of(json.begin(), json.end(), [](const Json& n) {
           return n.is_number_unsigned() && n.get<std::uint64_t>() <= (std::uint64_t{1} << 62U);
         });
}

/// Bytes of so many elements, or nullopt beyond 63 bits.
std::optional<std::uint64_t> bytes_of_shape(const Json& shape, std::uint64_t element) {
  std::uint64_t bytes = element;
  bool empty = false;
  for (const Json& extent : shape) empty = empty || extent.get<std::uint64_t>() == 0;
  if (empty) return 0;
  for (const Json& extent : shape) {
    const auto n = extent.get<std::uint64_t>();
    if (bytes > (std::uint64_t{1} << 62U) / n) return std::nullopt;
    bytes *= n;
  }
  return bytes;
}

template <class T>
void widen(std::span<const std::byte> bytes, std::span<double> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = static_cast<double>(value);
  }
}

template <class Convert>
void widen_halves(std::span<const std::byte> bytes, std::span<double> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    out[i] = static_cast<double>(convert(bits));
  }
}

}  // namespace

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

SafetensorsReader::SafetensorsReader(std::filesystem::path path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  struct stat info{};
  if (fd_ < 0 || ::fstat(fd_, &info) != 0) {
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    throw UserError(io_message("cannot read", path_, error), ExitCode::input_missing);
  }
  try {
    if (!S_ISREG(info.st_mode)) refuse("is not a regular file");
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size < 8) refuse("has " + std::to_string(size) + " bytes, expected 8 and a header");
    std::uint64_t length = 0;
    read_bytes(0, std::as_writable_bytes(std::span(&length, 1)));
    if (length > kLongestHeader || length > size - 8) {
      refuse("declares a header of " + std::to_string(length) + " bytes, expected at most " +
             std::to_string(std::min(kLongestHeader, size - 8)) +
             ": is it a safetensors file, or truncated?");
    }
    std::string header(length, '\0');
    read_bytes(8, std::as_writable_bytes(std::span(header)));
    parse(header, 8 + length, size);
    check_order(8 + length, size);
  } catch (const UserError&) {
    ::close(fd_);
    throw;
  }
}

SafetensorsReader::~SafetensorsReader() { ::close(fd_); }

void SafetensorsReader::refuse(const std::string& why) const {
  throw UserError(printable(path_.string()) + ": " + printable(why), ExitCode::checkpoint);
}

void SafetensorsReader::parse(const std::string& header, std::uint64_t data,
                              std::uint64_t file_size) {
  Json all;
  const std::string problem = parse_header(header, all);
  if (!problem.empty()) refuse(problem);
  for (const auto& [name, json] : all.items()) {
    if (name == kMetadata) continue;
    const bool whole = json.is_object() && json.contains("dtype") && json["dtype"].is_string() &&
                       json.contains("shape") && is_list_of_counts(json["shape"]) &&
                       json.contains("data_offsets") && is_list_of_counts(json["data_offsets"]) &&
                       json["data_offsets"].size() == 2;
    if (!whole) {
      refuse("tensor " + name +
             ": found no {dtype: text, shape: [counts], data_offsets: [first, end]}");
    }
    const auto type_name = json["dtype"].get<std::string>();
    const KnownType* type = type_named(type_name);
    if (type == nullptr) refuse("tensor " + name + ": has the unknown dtype " + type_name);
    const auto first = json["data_offsets"][0].get<std::uint64_t>();
    const auto end = json["data_offsets"][1].get<std::uint64_t>();
    const auto bytes = bytes_of_shape(json["shape"], type->size);
    if (end < first || end > file_size - data) {
      refuse("tensor " + name + ": lies at bytes " + std::to_string(first) + " to " +
             std::to_string(end) + " of the data, which has " + std::to_string(file_size - data) +
             ": is the file truncated?");
    }
    if (!bytes || *bytes != end - first) {
      refuse("tensor " + name + ": its shape takes " +
             (bytes ? std::to_string(*bytes) : "more than 2^62") +
             " bytes, its data_offsets give " + std::to_string(end - first));
    }
    Shape shape;
    for (const Json& n : json["shape"]) shape.push_back(n.get<std::int64_t>());
    tensors_.push_back({name, std::move(shape), type->dtype, type_name, data + first});
  }
  std::stable_sort(tensors_.begin(), tensors_.end(),
                   [](const auto& a, const auto& b) { return a.offset < b.offset; });
}

void SafetensorsReader::check_order(std::uint64_t data, std::uint64_t file_size) const {
  std::uint64_t at = data;
  for (const SafetensorsEntry& tensor : tensors_) {
    const std::uint64_t bytes =
        static_cast<std::uint64_t>(num_elements(tensor.shape)) * type_named(tensor.type)->size;
    if (bytes == 0) continue;
    if (tensor.offset < at) refuse("tensor " + tensor.name + " overlaps the one before it");
    if (tensor.offset > at) refuse("no tensor has the bytes before tensor " + tensor.name);
    at += bytes;
  }
  if (at != file_size) {
    refuse("has " + std::to_string(file_size - at) + " bytes behind its last tensor");
  }
}

const SafetensorsEntry* SafetensorsReader::find(std::string_view name) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [name](const auto& tensor) { return tensor.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

void SafetensorsReader::read_bytes(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError(io_message("cannot read", path_, errno));
    if (got == 0) refuse("ends at byte " + std::to_string(offset) + ": is it truncated?");
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

void SafetensorsReader::read(const SafetensorsEntry& tensor, std::int64_t first,
                             std::span<double> out) const {
  ALPA_CHECK(tensor.dtype && first >= 0 &&
             first + static_cast<std::int64_t>(out.size()) <= num_elements(tensor.shape));
  const std::int64_t element = size_of(*tensor.dtype);
  std::vector<std::byte> bytes(out.size() * static_cast<std::size_t>(element));
  read_bytes(tensor.offset + static_cast<std::uint64_t>(first * element), bytes);
  switch (*tensor.dtype) {
    case DType::f64:
      return widen<double>(bytes, out);
    case DType::f32:
      return widen<float>(bytes, out);
    case DType::bf16:
      return widen_halves(bytes, out, from_bf16);
    case DType::f16:
      return widen_halves(bytes, out, from_f16);
    case DType::i32:
      break;
  }
  check_failed("a floating-point dtype", SourceLine::here());
}

}  // namespace alpa
