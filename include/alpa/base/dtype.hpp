#pragma once

#include <cstdint>
#include <string_view>

namespace alpa {

/// Type of one element. Integers hold token ids and class labels.
enum class DType : std::uint8_t { f64, f32, bf16, f16, i32 };

/// Size of one element in bytes.
[[nodiscard]] std::int64_t size_of(DType type);

[[nodiscard]] std::string_view to_string(DType type);

/// f64 for f64, else f32: the type of what is kept or added up where tensors are `type`.
[[nodiscard]] constexpr DType at_least_f32(DType type) {
  return type == DType::f64 ? DType::f64 : DType::f32;
}

}  // namespace alpa
