#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

#include "alpa/cluster/cluster_file.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/methods.hpp"
#include "alpa/simulate/price.hpp"

namespace alpa {
namespace {

ClusterSpec one_v100() {
  return cluster_spec(load_cluster(ALPA_SOURCE_DIR "/configs/clusters/p3.16xlarge-1.yaml"));
}

/// Microbatches of a published run on one V100, and what a device does in it per second.
struct OneDevice {
  RunConfig config;
  std::int64_t microbatch;
  bool recomputes;  ///< all layers, their products counted a fourth time

  [[nodiscard]] double rate() const {
    const ClusterSpec v100 = one_v100();
    const DeviceKind& kind = v100.kinds.front();
    const Graph graph = build_graph(config, microbatch);
    MethodRequest request;
    request.parallel.method = Method::data;
    request.parallel.microbatches = config.training.global_batch / microbatch;
    request.global_batch = config.training.global_batch;
    request.samples_of_group = samples_of_group(config.model);
    const Plan plan = plan_by_method(request, [&](std::int64_t) { return graph; });
    const PlanPrice step = price(graph, plan, v100, no_workspace);
    const double count = plan.num_microbatches;
    double flops = count * flops_per_microbatch(graph).value;
    double seconds = step.step_time.value;
    if (recomputes) {
      double layers = 0.0, head_time = 0.0;
      for (const Operator& op : graph.operators) {
        if (op.phase != Phase::forward) continue;
        const double work = flops_of(op).value;
        if (!op.name.starts_with("head"))
          layers += work;
        else
          head_time += kernel_time(kind, graph.tensor(op.results[0]).dtype, Flops{work}, {})->value;
      }
      flops += count * layers;
      seconds += count * (step.stages.front().forward.value - head_time);
    }
    return flops / seconds;
  }
};

OneDevice published(const std::string& file, std::int64_t microbatch, bool recomputes) {
  return {load_run_config(ALPA_SOURCE_DIR "/configs/" + file), microbatch, recomputes};
}

// GPT-350M, 2 samples a microbatch, fp16 with recomputation: 45-47 TFLOP/s per GPU (Alpa, OSDI'22).
TEST(PublishedFigures, OneV100TrainsGpt350mInFp16) {
  const double rate = published("gpt/gpt-350m.yaml", 2, true).rate();
  std::printf("GPT-350M, fp16 with recomputation: %.1f TFLOP/s\n", rate * 1e-12);
  EXPECT_GE(rate, 45e12);
  EXPECT_LE(rate, 47e12);
}

// MoE-380M, likewise: 45 TFLOP/s.
TEST(PublishedFigures, OneV100TrainsMoe380mInFp16) {
  const double rate = published("moe/moe-380m.yaml", 2, true).rate();
  std::printf("MoE-380M, fp16 with recomputation: %.1f TFLOP/s\n", rate * 1e-12);
  EXPECT_NEAR(rate, 45e12, 2e12);
}

// Wide-ResNet-250M, 64 images a microbatch, fp32 without recomputation: 8.3 TFLOP/s.
TEST(PublishedFigures, OneV100TrainsWideResnet250mInFp32) {
  const double rate = published("wide_resnet/wide_resnet-250m.yaml", 64, false).rate();
  std::printf("Wide-ResNet-250M, fp32: %.2f TFLOP/s\n", rate * 1e-12);
  EXPECT_NEAR(rate, 8.3e12, 0.2e12);
}

}  // namespace
}  // namespace alpa
