#include "alpa/base/units.hpp"

#include <array>
#include <cstdio>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

std::string with_unit(double value, const char* unit) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.4g %s", value, unit);
  return text.data();
}

}  // namespace

std::int64_t size_of(DType type) {
  switch (type) {
    case DType::f64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16: return 2;
  }
  check_failed("known dtype", SourceLine::here());
}

std::string_view to_string(DType type) {
  switch (type) {
    case DType::f64: return "f64";
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f16: return "f16";
    case DType::i32: return "i32";
  }
  check_failed("known dtype", SourceLine::here());
}

Bytes bytes_of(const Shape& shape, DType type) { return {num_elements(shape) * size_of(type)}; }

std::string to_text(Bytes bytes) {
  const auto value = static_cast<double>(bytes.value);
  const double size = value < 0 ? -value : value;
  if (size >= 1024.0 * 1024 * 1024) return with_unit(value / (1024.0 * 1024 * 1024), "GiB");
  if (size >= 1024.0 * 1024) return with_unit(value / (1024.0 * 1024), "MiB");
  if (size >= 1024.0) return with_unit(value / 1024.0, "KiB");
  return std::to_string(bytes.value) + " B";
}

std::string to_text(Seconds seconds) {
  if (seconds.value >= 1.0) return with_unit(seconds.value, "s");
  if (seconds.value >= 1e-3) return with_unit(seconds.value * 1e3, "ms");
  return with_unit(seconds.value * 1e6, "us");
}

}  // namespace alpa
