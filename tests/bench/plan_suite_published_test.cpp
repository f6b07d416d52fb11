#include <cstdio>

#include <gtest/gtest.h>

#include "alpa/cluster/cluster_file.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/methods.hpp"
#include "alpa/simulate/price.hpp"

namespace alpa {
namespace {

ClusterSpec one_v100() {
  return cluster_spec(load_cluster(ALPA_SOURCE_DIR "/configs/clusters/p3.16xlarge-1.yaml"));
}

/// FLOP/s of one V100 that trains a shipped configuration in microbatches of so many samples: all
/// products that it executes in a step, those of recomputation too, over the price of the step.
double rate_of(const std::string& file, std::int64_t microbatch, Recompute recompute) {
  const RunConfig config = load_run_config(ALPA_SOURCE_DIR "/configs/" + file);
  MethodRequest request;
  request.parallel.method = Method::data;
  request.parallel.microbatches = config.training.global_batch / microbatch;
  request.parallel.recompute = recompute;
  request.global_batch = config.training.global_batch;
  request.samples_of_group = samples_of_group(config.model);
  const Graph graph = build_graph(config, microbatch);
  const Plan plan = plan_by_method(request, [&](std::int64_t) { return graph; });
  const PlanPrice step =
      price(with_recomputation(graph, plan.recompute), plan, one_v100(), no_workspace);
  return step.totals.front().flops / step.step_time.value;
}

// GPT-350M, 2 samples a microbatch, fp16 with recomputation: 45-47 TFLOP/s per GPU (Alpa, OSDI'22).
TEST(PublishedFigures, OneV100TrainsGpt350mInFp16) {
  const double rate = rate_of("gpt/gpt-350m.yaml", 2, Recompute::full);
  std::printf("GPT-350M, fp16 with recomputation: %.1f TFLOP/s\n", rate * 1e-12);
  EXPECT_GE(rate, 45e12);
  EXPECT_LE(rate, 47e12);
}

// MoE-380M, likewise: 45 TFLOP/s.
TEST(PublishedFigures, OneV100TrainsMoe380mInFp16) {
  const double rate = rate_of("moe/moe-380m.yaml", 2, Recompute::full);
  std::printf("MoE-380M, fp16 with recomputation: %.1f TFLOP/s\n", rate * 1e-12);
  EXPECT_NEAR(rate, 45e12, 1e12);
}

// Wide-ResNet-250M, 64 images a microbatch, fp32 without recomputation: 8.3 TFLOP/s.
TEST(PublishedFigures, OneV100TrainsWideResnet250mInFp32) {
  const double rate = rate_of("wide_resnet/wide_resnet-250m.yaml", 64, Recompute::none);
  std::printf("Wide-ResNet-250M, fp32: %.2f TFLOP/s\n", rate * 1e-12);
  EXPECT_NEAR(rate, 8.3e12, 0.2e12);
}

}  // namespace
}  // namespace alpa
