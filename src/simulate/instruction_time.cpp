#include "instruction_time.hpp"

#include <algorithm>
#include <numeric>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

std::vector<KernelPiece> pieces_of(const std::vector<Operand>& operands) {
  std::vector<KernelPiece> pieces;
  pieces.reserve(operands.size());
  for (const Operand& o : operands) pieces.push_back({o.dtype, o.box.extent});
  return pieces;
}

/// Place of a world rank in the stage's mesh.
std::vector<int> place_of(const StagePlan& stage, int rank) {
  const auto it = std::lower_bound(stage.ranks.begin(), stage.ranks.end(), rank);
  ALPA_CHECK(it != stage.ranks.end() && *it == rank);
  return coordinates(stage.mesh, static_cast<int>(it - stage.ranks.begin()));
}

}  // namespace

KernelWork work_of(const RunKernel& run) {
  return work_of(run.kernel, pieces_of(run.operands), pieces_of(run.results), {run.flops});
}

std::vector<MeshAxis> axes_of_group(const StagePlan& stage, const std::vector<int>& group) {
  const std::vector<int> first = place_of(stage, group.front());
  std::vector<bool> differs(first.size(), false);
  for (const int rank : group) {
    const std::vector<int> place = place_of(stage, rank);
    for (std::size_t a = 0; a < first.size(); ++a) {
      if (place[a] != first[a]) differs[a] = true;
    }
  }
  std::vector<MeshAxis> axes;
  for (std::size_t a = 0; a < first.size(); ++a) {
    if (differs[a]) axes.push_back(static_cast<MeshAxis>(a));
  }
  return axes;
}

Seconds collective_time(const Collective& c, const std::vector<MeshAxis>& axes,
                        const MeshCosts& costs) {
  switch (c.kind) {
    case Collective::Kind::all_reduce:
      return costs.all_reduce(c.in.size, axes);
    case Collective::Kind::all_gather:
      return costs.all_gather(c.out.size, axes);
    case Collective::Kind::reduce_scatter:
      return costs.reduce_scatter(c.in.size, axes);
    case Collective::Kind::all_to_all:
      return costs.all_to_all(c.in.size, axes);
  }
  check_failed("known collective", SourceLine::here());
}

bool is_world_reduction(const Collective& c, const Program& program) {
  return c.in.buffer == program.step_state;
}

Seconds world_reduction_time(const ClusterSpec& cluster, int world_size, Bytes size) {
  if (!cluster.axes.empty()) return {0.0};
  std::vector<int> world(static_cast<std::size_t>(world_size));
  std::iota(world.begin(), world.end(), 0);
  return MeshCosts(cluster, std::move(world), {{world_size}}).all_reduce(size, {0});
}

}  // namespace alpa
