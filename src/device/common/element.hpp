#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "alpa/base/error.hpp"
#include "alpa/device/device.hpp"

namespace alpa::kernels {

/// bfloat16: the upper half of an f32.
inline float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

/// Nearest bfloat16, ties to even; NaN stays NaN.
inline std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>((bits >> 16U) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U);
}

/// IEEE half precision from its bits.
inline float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16U;
  const std::uint32_t exponent = (bits >> 10U) & 0x1FU;
  const std::uint32_t fraction = bits & 0x3FFU;
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1.0p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (fraction << 13U));
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23U) | (fraction << 13U));
}

/// Nearest half, ties to even; beyond 65504 infinity.
inline std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16U) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U);
  if (magnitude >= 0x477FF000U) return static_cast<std::uint16_t>(sign | 0x7C00U);
  if (magnitude < 0x38800000U) {  // subnormal: adding 0.5 rounds to multiples of 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000U));
  }
  const std::uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13U) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13U));
}

/// Element i of a dense buffer, as f64.
inline double load(DType dtype, const std::byte* data, std::int64_t i) {
  switch (dtype) {
    case DType::f64:
      return reinterpret_cast<const double*>(data)[i];
    case DType::f32:
      return static_cast<double>(reinterpret_cast<const float*>(data)[i]);
    case DType::bf16:
      return static_cast<double>(from_bf16(reinterpret_cast<const std::uint16_t*>(data)[i]));
    case DType::f16:
      return static_cast<double>(from_f16(reinterpret_cast<const std::uint16_t*>(data)[i]));
    case DType::i32:
      return reinterpret_cast<const std::int32_t*>(data)[i];
  }
  ALPA_CHECK(false);
  return 0.0;
}

/// Stores a floating-point value, rounded to the buffer's type.
inline void store(DType dtype, std::byte* data, std::int64_t i, double value) {
  switch (dtype) {
    case DType::f64:
      reinterpret_cast<double*>(data)[i] = value;
      return;
    case DType::f32:
      reinterpret_cast<float*>(data)[i] = static_cast<float>(value);
      return;
    case DType::bf16:
      reinterpret_cast<std::uint16_t*>(data)[i] = to_bf16(static_cast<float>(value));
      return;
    case DType::f16:
      reinterpret_cast<std::uint16_t*>(data)[i] = to_f16(static_cast<float>(value));
      return;
    case DType::i32:
      reinterpret_cast<std::int32_t*>(data)[i] = static_cast<std::int32_t>(value);
      return;
  }
  ALPA_CHECK(false);
}

inline double load(const Piece& piece, std::int64_t i) { return load(piece.dtype, piece.data, i); }
inline void store(const Piece& piece, std::int64_t i, double value) {
  store(piece.dtype, piece.data, i, value);
}

/// Value of a scalar operand, or of any operand with one element.
inline double scalar(const Piece& piece) {
  ALPA_CHECK(num_elements(piece.box.extent) == 1);
  return load(piece, 0);
}

/// Labels and ids.
inline const std::int32_t* integers(const Piece& piece) {
  ALPA_CHECK(piece.dtype == DType::i32);
  return reinterpret_cast<const std::int32_t*>(piece.data);
}
inline std::int32_t* mutable_integers(const Piece& piece) {
  ALPA_CHECK(piece.dtype == DType::i32);
  return reinterpret_cast<std::int32_t*>(piece.data);
}

}  // namespace alpa::kernels
