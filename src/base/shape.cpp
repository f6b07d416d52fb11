#include "alpa/base/shape.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "alpa/base/error.hpp"

namespace alpa {

std::int64_t num_elements(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>{});
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (d > 0) text += ',';
    text += std::to_string(shape[d]);
  }
  return text + "]";
}

Box whole_box(const Shape& shape) { return {std::vector<std::int64_t>(shape.size(), 0), shape}; }

Box intersect(const Box& a, const Box& b) {
  ALPA_CHECK(a.extent.size() == b.extent.size());
  Box common = a;
  for (std::size_t d = 0; d < a.extent.size(); ++d) {
    const std::int64_t begin = std::max(a.offset[d], b.offset[d]);
    const std::int64_t end = std::min(a.offset[d] + a.extent[d], b.offset[d] + b.extent[d]);
    common.offset[d] = begin;
    common.extent[d] = std::max<std::int64_t>(0, end - begin);
  }
  return common;
}

bool is_empty(const Box& box) {
  return std::any_of(box.extent.begin(), box.extent.end(), [](auto e) { return e <= 0; });
}

bool contains(const Box& outer, const Box& inner) { return intersect(outer, inner) == inner; }

std::string to_string(const Box& box) {
  std::string text = "[";
  for (std::size_t d = 0; d < box.extent.size(); ++d) {
    if (d > 0) text += ',';
    text += std::to_string(box.offset[d]) + ":" + std::to_string(box.offset[d] + box.extent[d]);
  }
  return text + "]";
}

}  // namespace alpa
