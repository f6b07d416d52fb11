#pragma once

#include <cstdint>

#include "alpa/base/error.hpp"
#include "alpa/base/low_precision.hpp"
#include "alpa/device/device.hpp"

namespace alpa::kernels {

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
