#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "alpa/data/dataset.hpp"

namespace alpa {

inline const Field& field_of(const Dataset& data, const std::string& name) {
  return *std::find_if(data.fields().begin(), data.fields().end(),
                       [&](const Field& field) { return field.name == name; });
}

inline Shape batch_shape(const Dataset& data, const Field& field) {
  Shape shape = field.sample_shape;
  shape.insert(shape.begin(), data.global_batch());
  return shape;
}

template <class T>
std::vector<T> fill(const Dataset& data, Split split, std::int64_t batch, const std::string& field,
                    const Box& box) {
  std::vector<T> values(static_cast<std::size_t>(num_elements(box.extent)));
  data.fill(split, batch, field, box, std::span<T>(values));
  return values;
}

/// The whole batch of a field.
inline std::vector<std::int32_t> integers(const Dataset& data, Split split, std::int64_t batch,
                                          const std::string& field) {
  return fill<std::int32_t>(data, split, batch, field,
                            whole_box(batch_shape(data, field_of(data, field))));
}

inline std::vector<double> reals(const Dataset& data, Split split, std::int64_t batch,
                                 const std::string& field) {
  return fill<double>(data, split, batch, field,
                      whole_box(batch_shape(data, field_of(data, field))));
}

}  // namespace alpa
