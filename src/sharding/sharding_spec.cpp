#include "alpa/sharding/sharding_spec.hpp"

#include <algorithm>
#include <cctype>

#include "alpa/base/error.hpp"

namespace alpa {

ShardingSpec without_margins(ShardingSpec spec) {
  spec.margins.clear();
  return spec;
}

ShardingSpec replicated(std::size_t dims) {
  ShardingSpec spec;
  spec.dim_axes.resize(dims);
  return spec;
}

Box local_box(const Shape& global, const ShardingSpec& spec, const DeviceMesh& mesh, int index) {
  ALPA_CHECK(global.size() == spec.dim_axes.size());
  ALPA_CHECK(0 <= index && index < num_devices(mesh));
  const auto place = [&](MeshAxis axis) {
    int rest = index;
    for (auto a = mesh.extents.size() - 1; a > static_cast<std::size_t>(axis); --a) {
      rest /= mesh.extents[a];
    }
    return rest % extent(mesh, axis);
  };
  Box box = whole_box(global);
  for (std::size_t d = 0; d < global.size(); ++d) {
    std::int64_t parts = 1;
    std::int64_t part = 0;
    for (const MeshAxis axis : spec.dim_axes[d]) {
      parts *= extent(mesh, axis);
      part = part * extent(mesh, axis) + place(axis);
    }
    const std::int64_t begin = global[d] * part / parts;
    const std::int64_t end = global[d] * (part + 1) / parts;
    box.offset[d] = begin;
    box.extent[d] = end - begin;
  }
  for (const auto& margin : spec.margins) {
    const auto d = static_cast<std::size_t>(margin.dim);
    const std::int64_t end = box.offset[d] + box.extent[d];
    const std::int64_t first = std::max<std::int64_t>(0, box.offset[d] - margin.before);
    box.offset[d] = first;
    box.extent[d] = std::min(global[d], end + margin.after) - first;
  }
  return box;
}

bool fits(const Shape& global, const ShardingSpec& spec, const DeviceMesh& mesh) {
  for (std::size_t d = 0; d < global.size(); ++d) {
    std::int64_t parts = 1;
    for (const MeshAxis axis : spec.dim_axes[d]) parts *= extent(mesh, axis);
    if (parts > global[d]) return false;
  }
  return true;
}

int num_copies(const ShardingSpec& spec, const DeviceMesh& mesh) {
  int copies = num_devices(mesh);
  for (const auto& axes : spec.dim_axes) {
    for (const MeshAxis axis : axes) copies /= extent(mesh, axis);
  }
  for (const MeshAxis axis : spec.partial_axes) copies /= extent(mesh, axis);
  return copies;
}

std::string to_string(const ShardingSpec& spec) {
  std::string text = "[";
  for (std::size_t d = 0; d < spec.dim_axes.size(); ++d) {
    if (d > 0) text += ',';
    text += spec.dim_axes[d].empty() ? 'R' : 'S';
    for (const MeshAxis axis : spec.dim_axes[d]) text += std::to_string(axis);
    for (const auto& margin : spec.margins) {
      if (margin.dim != static_cast<int>(d)) continue;
      text += '~' + std::to_string(margin.before) + '~' + std::to_string(margin.after);
    }
  }
  text += ']';
  if (!spec.partial_axes.empty()) text += spec.partial_op == ReduceOp::sum ? "+P" : "+M";
  for (const MeshAxis axis : spec.partial_axes) text += std::to_string(axis);
  return text;
}

ShardingSpec parse_sharding_spec(const std::string& text) {
  const auto bad = [&]() -> PlanError {
    return PlanError("layout '" + text + "': expected a form such as [S0,R,S12] or [R,R]+P1");
  };
  ShardingSpec spec;
  std::size_t i = 0;
  const auto axes = [&] {
    std::vector<MeshAxis> list;
    while (i < text.size() && std::isdigit(static_cast<unsigned char>(text[i])) != 0) {
      list.push_back(text[i++] - '0');
    }
    return list;
  };
  const auto number = [&] {  // after a '~'
    std::int64_t value = 0;
    const std::size_t first = ++i;
    while (i < text.size() && i < first + 9 &&
           std::isdigit(static_cast<unsigned char>(text[i])) != 0) {
      value = 10 * value + (text[i++] - '0');
    }
    if (i == first || text[first - 1] != '~') throw bad();
    return value;
  };
  if (text.empty() || text[i++] != '[') throw bad();
  while (i < text.size() && text[i] != ']') {
    if (!spec.dim_axes.empty() && text[i++] != ',') throw bad();
    const char kind = i < text.size() ? text[i++] : '?';
    auto split = axes();
    if ((kind != 'R' && kind != 'S') || (kind == 'S') == split.empty()) throw bad();
    if (i < text.size() && text[i] == '~') {
      if (kind != 'S') throw bad();
      const std::int64_t before = number(), after = number();
      if (before + after == 0) throw bad();
      spec.margins.push_back({static_cast<int>(spec.dim_axes.size()), before, after});
    }
    spec.dim_axes.push_back(std::move(split));
  }
  if (i >= text.size() || text[i++] != ']') throw bad();
  if (i < text.size()) {
    if (text[i++] != '+' || i >= text.size()) throw bad();
    const char kind = text[i++];
    spec.partial_op = kind == 'M' ? ReduceOp::max : ReduceOp::sum;
    spec.partial_axes = axes();
    if ((kind != 'P' && kind != 'M') || spec.partial_axes.empty() || i != text.size()) throw bad();
    std::sort(spec.partial_axes.begin(), spec.partial_axes.end());
  }
  return spec;
}

}  // namespace alpa
