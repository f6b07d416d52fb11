#include "alpa/sharding/arrival_layout.hpp"

#include <algorithm>

namespace alpa {

ShardingSpec without_partial(ShardingSpec spec) {
  spec.partial_axes.clear();
  spec.partial_op = ReduceOp::sum;
  return spec;
}

ShardingSpec arrival_layout(const Shape& shape, const ShardingSpec& wanted,
                            const DeviceMesh& mesh) {
  ShardingSpec spec = without_margins(without_partial(wanted));
  for (std::size_t a = 0; a < mesh.extents.size(); ++a) {
    const auto axis = static_cast<MeshAxis>(a);
    const bool used = std::any_of(
        spec.dim_axes.begin(), spec.dim_axes.end(),
        [&](const auto& axes) { return std::find(axes.begin(), axes.end(), axis) != axes.end(); });
    for (std::size_t d = 0; !used && d < shape.size(); ++d) {
      ShardingSpec cut = spec;
      cut.dim_axes[d].push_back(axis);
      if (!fits(shape, cut, mesh)) continue;
      spec = cut;
      break;
    }
  }
  return spec;
}

}  // namespace alpa
