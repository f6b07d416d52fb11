#include <algorithm>
#include <cstring>

#include "alpa/base/error.hpp"
#include "alpa/checkpoint/safetensors.hpp"

namespace alpa {
namespace {

/// Elements that are read at once.
constexpr std::int64_t kLongestRun = std::int64_t{1} << 20;

/// Row-major strides of a dense box, in elements.
std::vector<std::int64_t> strides_of(const Shape& extent) {
  std::vector<std::int64_t> strides(extent.size(), 1);
  for (std::size_t d = extent.size(); d-- > 1;) strides[d - 1] = strides[d] * extent[d];
  return strides;
}

/// The extents of the part in the order of the file, and of each what one step in it is, in the
/// file and in a dense tensor of ours.
struct Axes {
  std::vector<std::int64_t> extent, offset, in_file, in_memory;

  [[nodiscard]] std::size_t size() const { return extent.size(); }
};

/// @param range what of the part is wanted  @param memory the dense box it goes to or comes from
Axes axes_of(const TensorInFile& stored, const Box& range, const Box& memory) {
  ALPA_CHECK(stored.order.size() == stored.part.extent.size());
  const std::vector<std::int64_t> memory_strides = strides_of(memory.extent);
  Axes axes;
  Shape file_extent;
  for (const int dim : stored.order) {
    const auto d = static_cast<std::size_t>(dim);
    axes.extent.push_back(range.extent[d]);
    axes.offset.push_back(range.offset[d] - stored.part.offset[d]);
    axes.in_memory.push_back(memory_strides[d]);
    file_extent.push_back(stored.part.extent[d]);
  }
  axes.in_file = strides_of(file_extent);
  return axes;
}

/// Calls visit(place in memory) for each index of the axes from `first` on, in the file's order.
template <class Visit>
void for_each_place(const Axes& axes, std::size_t first, std::int64_t start, const Visit& visit) {
  std::vector<std::int64_t> at(axes.size(), 0);
  std::int64_t place = start;
  for (;;) {
    visit(place, at);
    std::size_t d = axes.size();
    while (d > first) {
      --d;
      place += axes.in_memory[d];
      if (++at[d] < axes.extent[d]) break;
      place -= axes.in_memory[d] * axes.extent[d];
      at[d] = 0;
      if (d == first) return;
    }
    if (d == axes.size()) return;  // no axis to step along
  }
}

void store(std::byte* to, DType dtype, double value) {
  if (dtype == DType::f64) {
    std::memcpy(to, &value, sizeof value);
    return;
  }
  ALPA_CHECK(dtype == DType::f32);
  const auto narrow = static_cast<float>(value);
  std::memcpy(to, &narrow, sizeof narrow);
}

/// The axes from here on are one run of the file: all of the part is wanted along them, but for the
/// outermost, of which a range is a run too. Runs of several axes are at most kLongestRun long.
std::size_t first_of_run(const Axes& axes, const TensorInFile& stored) {
  std::size_t first = axes.size();
  std::int64_t run = 1;
  while (first > 0 && (run == 1 || run * axes.extent[first - 1] <= kLongestRun)) {
    --first;
    run *= axes.extent[first];
    const auto d = static_cast<std::size_t>(stored.order[first]);
    if (axes.extent[first] != stored.part.extent[d]) break;
  }
  return first;
}

}  // namespace

std::vector<std::byte> in_file_order(const TensorInFile& stored, std::span<const std::byte> part,
                                     std::int64_t element) {
  const auto size = static_cast<std::size_t>(element);
  ALPA_CHECK(part.size() == static_cast<std::size_t>(num_elements(stored.part.extent)) * size);
  std::vector<std::byte> out(part.size());
  std::byte* to = out.data();
  for_each_place(axes_of(stored, stored.part, stored.part), 0, 0,
                 [&](std::int64_t place, const auto&) {
                   std::memcpy(to, part.data() + static_cast<std::size_t>(place) * size, size);
                   to += size;
                 });
  return out;
}

void read_part(const SafetensorsReader& file, const SafetensorsEntry& entry,
               const TensorInFile& stored, const Box& box, DType dtype,
               std::span<std::byte> destination) {
  const Box wanted = intersect(stored.part, box);
  if (is_empty(wanted)) return;
  const Axes axes = axes_of(stored, wanted, box);
  const auto element = static_cast<std::size_t>(size_of(dtype));
  std::int64_t corner = 0;
  const std::vector<std::int64_t> strides = strides_of(box.extent);
  for (std::size_t d = 0; d < strides.size(); ++d) {
    corner += (wanted.offset[d] - box.offset[d]) * strides[d];
  }
  const std::size_t first = first_of_run(axes, stored);
  Axes outer = axes;  // the runs: one index of the axes inside
  std::int64_t run = 1;
  for (std::size_t d = first; d < axes.size(); ++d) {
    run *= axes.extent[d];
    outer.extent[d] = 1;
  }
  std::vector<double> values(static_cast<std::size_t>(run));
  for_each_place(outer, 0, corner, [&](std::int64_t start, const auto& at) {
    std::int64_t from = 0;
    for (std::size_t d = 0; d < axes.size(); ++d) {
      from += (axes.offset[d] + at[d]) * axes.in_file[d];
    }
    file.read(entry, from, values);
    auto value = values.begin();
    for_each_place(axes, first, start, [&](std::int64_t place, const auto&) {
      store(destination.data() + static_cast<std::size_t>(place) * element, dtype, *value++);
    });
  });
}

}  // namespace alpa
