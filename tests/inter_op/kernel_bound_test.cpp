#include "kernel_bound.hpp"

#include <random>

#include <gtest/gtest.h>

#include "alpa/simulate/price.hpp"

#include "law/models.hpp"

namespace alpa {
namespace {

/// Devices that reach less of their peak with small products.
ClusterSpec one_host(int devices) {
  ClusterSpec cluster;
  DeviceKind kind;
  kind.peak_flops = {{DType::f32, 1e10}, {DType::f64, 1e10}, {DType::f16, 4e10}};
  kind.product_efficiency = {{1e2, 0.1}, {1e4, 0.5}, {1e6, 0.9}};
  kind.memory_bandwidth = 1e10;
  kind.launch = {1e-8};
  cluster.kinds = {kind};
  Host host;
  host.devices = devices;
  host.intra_host = {{1e-6}, 1e9};
  cluster.hosts = {host};
  return cluster;
}

// No stage of any plan is faster than the bound of its layers on as many devices.
TEST(KernelBound, HoldsForEveryStageOfRandomPlans) {
  std::mt19937_64 random(9);
  double closest = 0.0;
  for (const Preset preset : {Preset::mlp, Preset::gpt, Preset::moe, Preset::wide_resnet}) {
    for (const Precision precision : {Precision::fp32, Precision::fp16}) {
      const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
      for (int i = 0; i < 10; ++i) {
        const int world = 1 + static_cast<int>(random() % 6);
        const Plan plan = law::random_plan(test, world, random);
        SCOPED_TRACE(law::name_in_files(preset) + " plan " + std::to_string(i));
        const Graph graph = law::graph_of(test, plan);
        const ClusterSpec cluster = one_host(world);
        const KernelBound bound(graph, cluster, plan.num_microbatches);
        const PlanPrice truth = price(graph, plan, cluster, no_workspace);
        for (std::size_t s = 0; s < plan.stages.size(); ++s) {
          const auto [first, last] = plan.stages[s].chunks.front();
          const int devices = num_devices(plan.stages[s].mesh);
          const auto of = [&](const std::vector<double>& sums) {
            return sums[static_cast<std::size_t>(last) + 1] - sums[static_cast<std::size_t>(first)];
          };
          const StageTimes& t = truth.stages[s];
          const double both = (t.forward + t.backward).value;
          EXPECT_LE(of(bound.each(devices)), both * (1 + 1e-9));
          const double step = plan.num_microbatches * both + t.update.value;
          EXPECT_LE(of(bound.step(devices)), step * (1 + 1e-9));
          closest = std::max(closest, of(bound.step(devices)) / step);
        }
      }
    }
  }
  EXPECT_GT(closest, 0.8);  // on one device there is little else than the kernels
}

TEST(KernelBound, ASteppedSumFallsWithDevicesAndGrowsWithLayers) {
  const law::Case test = law::case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp32, 0.5});
  const Graph graph = test.make_graph(2);
  const ClusterSpec cluster = one_host(8);
  const KernelBound bound(graph, cluster, 4);
  for (int devices = 1; devices < 8; ++devices) {
    const auto step = bound.step(devices);
    const auto next = bound.step(devices + 1);
    const auto each = bound.each(devices);
    ASSERT_EQ(step.size(), static_cast<std::size_t>(graph.num_layers) + 1);
    EXPECT_EQ(step.front(), 0.0);
    for (std::size_t l = 1; l < step.size(); ++l) {
      EXPECT_GE(step[l], step[l - 1]);
      EXPECT_LE(next[l], step[l] * (1 + 1e-12));
      // Of n devices each does an n-th, and reaches no more of its rate.
      EXPECT_GE(next[l] * (devices + 1), step[l] * devices * (1 - 1e-12));
      EXPECT_GE(step[l], 4 * each[l] * (1 - 1e-12));  // four microbatches, then the update
    }
  }
}

}  // namespace
}  // namespace alpa
