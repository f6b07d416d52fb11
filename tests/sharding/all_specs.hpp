#pragma once

#include <algorithm>
#include <vector>

#include "alpa/sharding/sharding_spec.hpp"

/// Enumerations of layouts, for tests.
namespace alpa::test {

enum class Partial : std::uint8_t { none, sum, sum_and_max };

/// Every layout of a tensor of that shape on the mesh whose pieces are not empty: each axis splits
/// a dimension (in both orders where two share one), carries a partial value, or does nothing.
inline std::vector<ShardingSpec> all_specs(const Shape& shape, const DeviceMesh& mesh,
                                           Partial partial) {
  std::vector<ShardingSpec> found{replicated(shape.size())};
  for (std::size_t a = 0; a < mesh.extents.size(); ++a) {
    const auto axis = static_cast<MeshAxis>(a);
    std::vector<ShardingSpec> longer = found;
    for (const ShardingSpec& base : found) {
      for (std::size_t d = 0; d < shape.size(); ++d) {
        for (std::size_t place = 0; place <= base.dim_axes[d].size(); ++place) {
          ShardingSpec spec = base;
          auto& axes = spec.dim_axes[d];
          axes.insert(axes.begin() + static_cast<std::ptrdiff_t>(place), axis);
          longer.push_back(spec);
        }
      }
      for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max}) {
        if (partial == Partial::none || (op == ReduceOp::max && partial == Partial::sum)) continue;
        if (!base.partial_axes.empty() && base.partial_op != op) continue;
        ShardingSpec spec = base;
        spec.partial_axes.push_back(axis);
        spec.partial_op = op;
        longer.push_back(spec);
      }
    }
    found = std::move(longer);
  }
  std::erase_if(found, [&](const ShardingSpec& spec) { return !fits(shape, spec, mesh); });
  return found;
}

}  // namespace alpa::test
