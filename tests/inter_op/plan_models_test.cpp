#include "alpa/inter_op/plan_models.hpp"

#include <iostream>
#include <random>

#include <gtest/gtest.h>

#include "alpa/simulate/price.hpp"

#include "law/models.hpp"

namespace alpa {
namespace {

/// Hosts with fast links inside and slow ones between.
ClusterSpec hosts(int count, int devices_per_host) {
  ClusterSpec cluster;
  DeviceKind kind;
  kind.peak_flops = {{DType::f32, 1e10}, {DType::f64, 1e10}, {DType::f16, 4e10}};
  kind.memory_bandwidth = 1e10;
  kind.launch = {1e-7};
  cluster.kinds = {kind};
  for (int h = 0; h < count; ++h) {
    Host host;
    host.devices = devices_per_host;
    host.intra_host = {{1e-6}, 1e9};
    cluster.hosts.push_back(host);
  }
  cluster.inter_host = {{5e-6}, 1e8};
  return cluster;
}

struct Agreement {
  int plans = 0;
  double least_time = 1.0, most_time = 0.0;  ///< modelled / lowered
  double least_memory = 1.0;                 ///< figures / arena
};

void compare(const law::Case& test, const Plan& plan, const ClusterSpec& cluster, Agreement& all) {
  const Graph graph = law::graph_of(test, plan);
  PlanModels models(cluster);
  const ModelledPlan modelled = models.of(graph, plan);
  const PlanPrice truth = price(graph, plan, cluster, no_workspace);
  const double share = modelled.step_time.value / (truth.step_time - truth.norm).value;
  EXPECT_NEAR(share, 1.0, 0.01);
  EXPECT_EQ(modelled.step_time, models.of(graph, plan).step_time);
  ++all.plans;
  all.least_time = std::min(all.least_time, share);
  all.most_time = std::max(all.most_time, share);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    EXPECT_LE(modelled.memory[s], truth.arenas[s]) << "stage " << s;
    all.least_memory = std::min(all.least_memory, static_cast<double>(modelled.memory[s].value) /
                                                      static_cast<double>(truth.arenas[s].value));
  }
}

// Pipelines over unlike meshes and hosts. What is left of the time: the packing and unpacking of
// messages, which stages do in their forward and backward, and the steady state of long pipelines,
// which is not followed to the end.
TEST(PlanModels, SayWhatLoweringFinds) {
  Agreement all;
  for (const Preset preset : {Preset::gpt, Preset::moe, Preset::wide_resnet}) {
    for (const Precision precision : {Precision::fp32, Precision::fp16}) {
      if (preset == Preset::wide_resnet && precision == Precision::fp16) continue;
      const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
      const auto check = [&](Method method, int ranks, const ParallelConfig& parallel,
                             const ClusterSpec& cluster) {
        const Plan plan = law::plan_of(test, method, ranks, parallel);
        SCOPED_TRACE(law::name_in_files(preset) + " " + law::name_in_files(precision) + " " +
                     plan.method + " on " + std::to_string(ranks));
        compare(test, plan, cluster, all);
      };
      check(Method::zero1, 4, law::microbatches(2), hosts(2, 2));
      check(Method::inter_only, 3, law::microbatches(4), hosts(3, 1));
      check(Method::pipedream, 2, law::microbatches(4), hosts(1, 2));
      for (const int between : {1, 2}) {
        ParallelConfig degrees = law::degrees(2, 2, 2);
        degrees.microbatches = 4;
        check(Method::megatron, 8, degrees, hosts(2 * between, 4 / between));
        degrees = law::degrees(1, 2, 3);
        degrees.microbatches = 4;
        check(Method::megatron, 6, degrees, hosts(3, 2));
      }
    }
  }
  std::cout << all.plans << " plans: modelled time " << all.least_time << " to " << all.most_time
            << " of the lowered one, bytes at least " << all.least_memory << " of the arena\n";
  EXPECT_GE(all.plans, 20);
  EXPECT_GT(all.least_memory, 0.89);
}

// Any plan: unlike meshes and layouts on both sides of a border, devices that send nothing,
// messages that are packed.
TEST(PlanModels, AreNeverAboveRandomPlans) {
  std::mt19937_64 random(3);
  int pipelines = 0;
  double bytes = 0.0;
  double arenas = 0.0;
  for (const Preset preset : {Preset::mlp, Preset::gpt, Preset::moe, Preset::wide_resnet}) {
    for (const Precision precision : {Precision::fp32, Precision::fp16}) {
      const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
      for (int i = 0; i < 8; ++i) {
        const int world = 2 + static_cast<int>(random() % 6);
        const Plan plan = law::random_plan(test, world, random);
        SCOPED_TRACE(law::name_in_files(preset) + " " + law::name_in_files(precision) + " plan " +
                     std::to_string(i));
        const Graph graph = law::graph_of(test, plan);
        const ClusterSpec cluster = hosts(world, 1);
        const ModelledPlan modelled = PlanModels(cluster).of(graph, plan);
        const PlanPrice truth = price(graph, plan, cluster, no_workspace);
        const std::vector<StageMemory> memory = stage_memory(graph, plan, no_workspace);
        const Seconds without_norm = truth.step_time - truth.norm;
        EXPECT_LE(modelled.step_time.value, without_norm.value * (1 + 1e-9));
        pipelines += plan.stages.size() > 1 ? 1 : 0;
        for (std::size_t s = 0; s < plan.stages.size(); ++s) {
          EXPECT_LE(modelled.memory[s], memory[s].arena) << "stage " << s;
          bytes += static_cast<double>(modelled.memory[s].value);
          arenas += static_cast<double>(memory[s].arena.value);
        }
      }
    }
  }
  std::cout << pipelines << " pipelines: bytes " << bytes / arenas << " of the arenas\n";
  EXPECT_GT(pipelines, 30);
  EXPECT_GT(bytes / arenas, 0.92);
}

// 1F1B with many microbatches goes on as it has begun.
TEST(PlanModels, LongPipelines) {
  law::Case test = law::case_of({Preset::mlp, OptimizerKind::adamw, Precision::fp32, 0.5});
  test.global_batch = 128;
  Agreement all;
  for (const int microbatches : {32, 64, 128}) {
    compare(test, law::plan_of(test, Method::pipedream, 4, law::microbatches(microbatches)),
            hosts(2, 2), all);
  }
  EXPECT_EQ(all.plans, 3);
}

}  // namespace
}  // namespace alpa
