#include <limits>
#include <map>
#include <memory>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/lowering/traffic.hpp"
#include "alpa/simulate/simulate.hpp"

#include "instruction_time.hpp"
#include "message_costs.hpp"

namespace alpa {
namespace {

/// The prices of a plan's instructions; groups are looked up once.
class PlanCosts {
 public:
  PlanCosts(const ClusterSpec& cluster, const Graph& graph, const Plan& plan)
      : cluster_(cluster), plan_(plan), messages_(cluster, traffic(PlacedPlan(graph, plan))) {
    for (const StagePlan& stage : plan_.stages) {
      meshes_.emplace_back(cluster_, stage.ranks, stage.mesh);
    }
  }

  [[nodiscard]] Seconds kernel(const RunKernel& run, int rank) const {
    const KernelWork work = work_of(run);
    const auto time =
        kernel_time(kind_of(cluster_, rank), work.kind, work.dtype, work.flops, work.moved);
    return time.value_or(Seconds{std::numeric_limits<double>::infinity()});
  }

  Seconds collective(const Collective& c, const Program& program) {
    if (is_world_reduction(c, program)) {
      return world_reduction_time(cluster_, plan_.world_size, c.in.size);
    }
    const auto& group = program.groups.at(c.group.index());
    auto it = groups_.find(group);
    if (it == groups_.end()) it = groups_.emplace(group, placed(group)).first;
    const Placed& where = it->second;
    return collective_time(c, where.axes, meshes_[static_cast<std::size_t>(where.stage)]);
  }

  [[nodiscard]] Seconds message(Bytes size, int from, int to) const {
    return messages_.time(size, from, to);
  }

 private:
  struct Placed {
    int stage = 0;
    std::vector<MeshAxis> axes;
  };

  [[nodiscard]] Placed placed(const std::vector<int>& group) const {
    const int stage = seat_of(plan_, group.front()).stage;
    return {stage, axes_of_group(plan_.stages[static_cast<std::size_t>(stage)], group)};
  }

  const ClusterSpec cluster_;
  const Plan plan_;
  MessageCosts messages_;
  std::vector<MeshCosts> meshes_;
  std::map<std::vector<int>, Placed> groups_;
};

}  // namespace

InstructionCosts costs_on(const ClusterSpec& cluster, const Graph& graph, const Plan& plan) {
  const auto costs = std::make_shared<PlanCosts>(cluster, graph, plan);
  return {[costs](const RunKernel& run, int rank) { return costs->kernel(run, rank); },
          [costs](const Collective& c, const Program& program) {
            return costs->collective(c, program);
          },
          [costs](Bytes size, int from, int to) { return costs->message(size, from, to); }};
}

}  // namespace alpa
