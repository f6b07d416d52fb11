#pragma once

#include <cstddef>
#include <cstdint>

#include "alpa/base/dtype.hpp"
#include "alpa/base/error.hpp"
#include "alpa/base/low_precision.hpp"

namespace alpa::cpu {

inline bool is_low(DType type) { return type == DType::bf16 || type == DType::f16; }

/// to[i] = element i * stride of `data`, n of them, of bf16 or f16.
template <class T>
void widen(DType type, const std::byte* data, std::int64_t stride, T* __restrict to,
           std::int64_t n) {
  const auto* from = reinterpret_cast<const std::uint16_t*>(data);
  const auto loop = [&](const auto& convert) {
    if (stride == 1) {
      for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(convert(from[i]));
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(convert(from[i * stride]));
    }
  };
  ALPA_CHECK(is_low(type));
  if (type == DType::bf16)
    loop([](std::uint16_t bits) { return from_bf16(bits); });
  else
    loop([](std::uint16_t bits) { return from_f16(bits); });
}

/// Element i * stride of `data` = from[i], rounded to the nearest bf16 or f16.
template <class T>
void narrow(DType type, const T* __restrict from, std::byte* data, std::int64_t stride,
            std::int64_t n) {
  auto* to = reinterpret_cast<std::uint16_t*>(data);
  const auto loop = [&](const auto& convert) {
    if (stride == 1) {
      for (std::int64_t i = 0; i < n; ++i) to[i] = convert(static_cast<float>(from[i]));
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i * stride] = convert(static_cast<float>(from[i]));
    }
  };
  ALPA_CHECK(is_low(type));
  if (type == DType::bf16)
    loop([](float value) { return to_bf16(value); });
  else
    loop([](float value) { return to_f16(value); });
}

}  // namespace alpa::cpu
