#include "alpa/simulate/move_time.hpp"

#include <gtest/gtest.h>

#include "alpa/graph/builder.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/simulate/price.hpp"
#include "alpa/simulate/simulate.hpp"

namespace alpa {
namespace {

/// p [b,c,d] = x [b,k] w [k,c,d], then a copy q, and a copy r where it is asked for; sizes that no
/// mesh divides.
Graph product_and_copies(bool second) {
  GraphBuilder builder(1, 5, DType::f32);
  const TensorId x = builder.input("x", "bk", {5, 7}, DType::f32);
  const TensorId w = builder.input("w", "kcd", {7, 6, 9}, DType::f32);
  const TensorId p = builder.add("p", Einsum{"bk", "kcd", "bcd"}, {x, w});
  builder.add("q", Map{MapOp::copy, {"bcd"}, "bcd"}, {p});
  if (second) builder.add("r", Map{MapOp::copy, {"bcd"}, "bcd"}, {p});
  return builder.build();
}

ClusterSpec cluster_of(int devices) {
  ClusterSpec cluster;
  cluster.kinds.resize(1);
  cluster.kinds[0].peak_flops = {{DType::f32, 1e9}};
  cluster.kinds[0].memory_bandwidth = 1e9;
  cluster.kinds[0].launch = {1e-6};
  cluster.hosts = {{0, devices, {{3e-6}, 1e8}}};
  return cluster;
}

Plan plan_of(const DeviceMesh& mesh) {
  Plan plan;
  plan.world_size = num_devices(mesh);
  plan.stages.resize(1);
  plan.stages[0].chunks = {{0, 0}};
  plan.stages[0].mesh = mesh;
  for (int rank = 0; rank < plan.world_size; ++rank) plan.stages[0].ranks.push_back(rank);
  return plan;
}

/// What the last device's forward takes for moves of p: without the operators (p, q, r) and without
/// what makes inputs partial ("to_partial x").
double moves_of(const Graph& graph, const Plan& plan, const ClusterSpec& cluster) {
  const Program step = lower(graph, plan, plan.world_size - 1, no_workspace).step;
  const InstructionCosts costs = costs_on(cluster, graph, plan);
  double operators = 0.0;
  for (const Segment& segment : step.segments) {
    for (const Instruction& i : segment.instructions) {
      const auto* run = std::get_if<RunKernel>(&i.action);
      if (run == nullptr || (i.name.size() > 1 && i.name.ends_with(" p"))) continue;
      operators += costs.kernel(*run, step.rank).value;
    }
  }
  return stage_times(step, cluster, plan.stages[0]).forward.value - operators;
}

struct Delivery {
  double time = 0.0;
  double copy = 0.0;  ///< before an all-reduce that is not in place
};

Delivery delivery(const Tensor& t, const ShardingSpec& from, const ShardingSpec& to,
                  const MeshCosts& costs) {
  Delivery d;
  const auto path = redistribution(t.shape, t.dtype, from, to, costs.mesh());
  for (const Move& move : path) d.time += move_time(t.shape, t.dtype, move, costs).value;
  if (!path.empty() && path[0].kind == Move::Kind::all_reduce) {
    const int last = num_devices(costs.mesh()) - 1;
    const Box piece = local_box(t.shape, from, costs.mesh(), last);
    d.copy = copy_time(piece.extent, t.dtype, costs).value;
  }
  return d;
}

TEST(MoveTime, IsWhatTheLoweredMovesTake) {
  const Graph graph = product_and_copies(false);
  const Operator& p = graph.operators[0];
  const Operator& q = graph.operators[1];
  int moved = 0;
  for (const DeviceMesh& mesh : {DeviceMesh{{2}}, DeviceMesh{{4}}, DeviceMesh{{2, 2}}}) {
    const ClusterSpec cluster = cluster_of(num_devices(mesh));
    Plan plan = plan_of(mesh);
    const MeshCosts costs(cluster, plan.stages[0].ranks, mesh);
    for (const Strategy& made : all_strategies(p.rule, mesh)) {
      for (const Strategy& wanted : all_strategies(q.rule, mesh)) {
        plan.stages[0].strategies = {{"p", made}, {"q", wanted}};
        const Delivery d = delivery(
            graph.tensor(p.results[0]), apply_strategy(p.rule, made, mesh).layout->results[0],
            apply_strategy(q.rule, wanted, mesh).layout->operands[0], costs);
        const double least = std::max(d.time, 1e-12);
        EXPECT_NEAR(moves_of(graph, plan, cluster) / least, d.time / least, 1e-6)
            << to_string(made) << " -> " << to_string(wanted);
        moved += d.time > 0.0 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(moved, 400);
}

/// Two layouts of one tensor are paid for separately, each from the source, in either order.
TEST(MoveTime, DeliveriesShareNothing) {
  const Graph graph = product_and_copies(true);
  const Operator& p = graph.operators[0];
  const Operator& q = graph.operators[1];
  const DeviceMesh mesh{{2, 2}};
  const ClusterSpec cluster = cluster_of(4);
  Plan plan = plan_of(mesh);
  const MeshCosts costs(cluster, plan.stages[0].ranks, mesh);
  const Tensor& t = graph.tensor(p.results[0]);
  const auto strategies = all_strategies(q.rule, mesh);
  for (const std::string made : {"replicated", "b@0 c@1", "k@0 b@1", "k@0 k@1"}) {
    const ShardingSpec source =
        apply_strategy(p.rule, parse_strategy(made), mesh).layout->results[0];
    for (const Strategy& first : strategies) {
      for (const Strategy& second : strategies) {
        plan.stages[0].strategies = {{"p", parse_strategy(made)}, {"q", first}, {"r", second}};
        const ShardingSpec a = apply_strategy(q.rule, first, mesh).layout->operands[0];
        const ShardingSpec b = apply_strategy(q.rule, second, mesh).layout->operands[0];
        Delivery sum = delivery(t, source, a, costs);
        if (a != b) {
          const Delivery other = delivery(t, source, b, costs);
          sum.time += sum.copy + other.time + other.copy;
        }
        const double least = std::max(sum.time, 1e-12);
        EXPECT_NEAR(moves_of(graph, plan, cluster) / least, sum.time / least, 1e-6)
            << made << " -> " << to_string(first) << ", " << to_string(second);
      }
    }
  }
}

}  // namespace
}  // namespace alpa
