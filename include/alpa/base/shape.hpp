#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace alpa {

/// Extents of a tensor, outermost dimension first, in elements.
using Shape = std::vector<std::int64_t>;

/// Number of elements; 1 for a scalar (no dimensions).
[[nodiscard]] std::int64_t num_elements(const Shape& shape);

/// "[2,3,4]"; "[]" for a scalar.
[[nodiscard]] std::string to_string(const Shape& shape);

/// A contiguous box of indices of a tensor: [offset[d], offset[d] + extent[d]) in dimension d.
///
/// Example: rows 2 and 3 of a [4, 8] tensor are {.offset = {2, 0}, .extent = {2, 8}}.
struct Box {
  std::vector<std::int64_t> offset;
  Shape extent;

  friend bool operator==(const Box&, const Box&) = default;
  friend auto operator<=>(const Box&, const Box&) = default;
};

/// The box that covers the whole tensor.
[[nodiscard]] Box whole_box(const Shape& shape);

/// The common part of two boxes of equal rank; extents are 0 where they do not meet.
[[nodiscard]] Box intersect(const Box& a, const Box& b);

[[nodiscard]] bool is_empty(const Box& box);
[[nodiscard]] bool contains(const Box& outer, const Box& inner);

/// "[0:2,4:8]"
[[nodiscard]] std::string to_string(const Box& box);

}  // namespace alpa
