#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"

namespace alpa {

/// A quantity with a unit: added, subtracted and compared only with its own kind, scaled by numbers.
template <class Tag, class Value>
struct Quantity {
  Value value{};

  friend constexpr auto operator<=>(const Quantity&, const Quantity&) = default;
  constexpr Quantity& operator+=(Quantity other) { value += other.value; return *this; }
  constexpr Quantity& operator-=(Quantity other) { value -= other.value; return *this; }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return {a.value + b.value}; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return {a.value - b.value}; }
  friend constexpr Quantity operator*(Quantity a, Value k) { return {a.value * k}; }
  friend constexpr Quantity operator*(Value k, Quantity a) { return {a.value * k}; }
};

using Bytes = Quantity<struct BytesTag, std::int64_t>;
using Seconds = Quantity<struct SecondsTag, double>;
using Flops = Quantity<struct FlopsTag, double>;

/// Storage of a dense tensor of this shape.
[[nodiscard]] Bytes bytes_of(const Shape& shape, DType type);

/// "1.5 GiB", "640 B"
[[nodiscard]] std::string to_text(Bytes bytes);
/// "12.3 ms"
[[nodiscard]] std::string to_text(Seconds seconds);

/// An index that cannot be mixed up with an index into something else.
template <class Tag>
struct Id {
  std::int32_t value = -1;
  friend constexpr auto operator<=>(const Id&, const Id&) = default;
  [[nodiscard]] constexpr bool valid() const { return value >= 0; }
  [[nodiscard]] constexpr std::size_t index() const { return static_cast<std::size_t>(value); }
};

}  // namespace alpa
