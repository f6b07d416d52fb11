#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "alpa/base/error.hpp"
#include "alpa/sharding/redistribution.hpp"

/// Redistribution as it is defined: all neighbours of all layouts, no short cuts.
namespace alpa::test {

class Neighbours {
 public:
  Neighbours(const Shape& shape, const ShardingSpec& to, const DeviceMesh& mesh)
      : shape_(shape), to_(to), mesh_(mesh) {}

  std::vector<Move> of(const ShardingSpec& spec) {
    moves_.clear();
    resolve_partial(spec);
    gather_and_exchange(spec);
    cut_and_mask(spec);
    return std::move(moves_);
  }

 private:
  void add(Move::Kind kind, std::vector<MeshAxis> axes, int from, int to,
           const ShardingSpec& before, ShardingSpec after) {
    if (after.partial_axes.empty()) after.partial_op = ReduceOp::sum;
    if (fits(shape_, after, mesh_)) {
      moves_.push_back({kind, std::move(axes), from, to, before, std::move(after)});
    }
  }

  void resolve_partial(const ShardingSpec& spec) {
    std::vector<std::vector<MeshAxis>> sets;
    for (const MeshAxis axis : spec.partial_axes) sets.push_back({axis});
    if (spec.partial_axes.size() > 1) sets.push_back(spec.partial_axes);
    for (const auto& axes : sets) {
      ShardingSpec rest = spec;
      std::erase_if(rest.partial_axes, [&](MeshAxis a) {
        return std::find(axes.begin(), axes.end(), a) != axes.end();
      });
      add(Move::Kind::all_reduce, axes, -1, -1, spec, rest);
      for (std::size_t d = 0; d < shape_.size(); ++d) {
        ShardingSpec after = rest;
        after.dim_axes[d].insert(after.dim_axes[d].end(), axes.begin(), axes.end());
        add(Move::Kind::reduce_scatter, axes, -1, static_cast<int>(d), spec, after);
      }
    }
  }

  void gather_and_exchange(const ShardingSpec& spec) {
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      const auto& split = spec.dim_axes[d];
      for (std::size_t count = 1; count <= split.size(); ++count) {
        const std::vector<MeshAxis> axes(split.end() - static_cast<std::ptrdiff_t>(count),
                                         split.end());
        if (!std::is_sorted(axes.begin(), axes.end())) break;
        ShardingSpec rest = spec;
        rest.dim_axes[d].resize(split.size() - count);
        add(Move::Kind::all_gather, axes, static_cast<int>(d), -1, spec, rest);
        for (std::size_t e = 0; e < shape_.size() && count == 1; ++e) {
          if (e == d) continue;
          ShardingSpec after = rest;
          after.dim_axes[e].push_back(axes[0]);
          add(Move::Kind::all_to_all, axes, static_cast<int>(d), static_cast<int>(e), spec, after);
        }
      }
    }
  }

  /// Free moves of axes over which the value is whole; only towards what the target wants.
  void cut_and_mask(const ShardingSpec& spec) {
    std::set<MeshAxis> used(spec.partial_axes.begin(), spec.partial_axes.end());
    for (const auto& axes : spec.dim_axes) used.insert(axes.begin(), axes.end());
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      for (const MeshAxis axis : to_.dim_axes[d]) {
        if (used.contains(axis)) continue;
        ShardingSpec after = spec;
        after.dim_axes[d].push_back(axis);
        add(Move::Kind::slice, {axis}, -1, static_cast<int>(d), spec, after);
      }
    }
    if (to_.partial_op != ReduceOp::sum ||
        (!spec.partial_axes.empty() && spec.partial_op != ReduceOp::sum))
      return;
    for (const MeshAxis axis : to_.partial_axes) {
      if (used.contains(axis)) continue;
      ShardingSpec after = spec;
      after.partial_op = ReduceOp::sum;
      after.partial_axes.push_back(axis);
      std::sort(after.partial_axes.begin(), after.partial_axes.end());
      add(Move::Kind::to_partial, {axis}, -1, -1, spec, after);
    }
  }

  const Shape& shape_;
  const ShardingSpec& to_;
  const DeviceMesh& mesh_;
  std::vector<Move> moves_;
};

struct Reached {
  double cost = 0;
  bool settled = false;
  Move by;
};

inline std::vector<Move> defined_redistribution(const Shape& shape, DType dtype,
                                                const ShardingSpec& from, const ShardingSpec& to,
                                                const DeviceMesh& mesh) {
  Neighbours neighbours(shape, to, mesh);
  std::map<ShardingSpec, Reached> reached{{from, {}}};
  while (true) {
    const ShardingSpec* best = nullptr;
    for (const auto& [spec, state] : reached) {
      if (!state.settled && (best == nullptr || state.cost < reached.at(*best).cost)) best = &spec;
    }
    ALPA_CHECK(best != nullptr);
    Reached& here = reached.at(*best);
    here.settled = true;
    if (*best == to) break;
    for (Move& move : neighbours.of(*best)) {
      const double cost = here.cost + move_cost(shape, dtype, move, mesh);
      auto [it, is_new] = reached.try_emplace(move.after);
      if (is_new || (!it->second.settled && cost < it->second.cost)) {
        it->second.cost = cost;
        it->second.by = std::move(move);
      }
    }
  }
  std::vector<Move> path;
  for (ShardingSpec at = to; !(at == from);) {
    path.push_back(reached.at(at).by);
    at = path.back().before;
  }
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace alpa::test
