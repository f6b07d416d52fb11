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

double peak(const DeviceKind& kind, DType dtype) {
  const auto found = std::find_if(kind.peak_flops.begin(), kind.peak_flops.end(),
                                  [&](const auto& entry) { return entry.first == dtype; });
  return found == kind.peak_flops.end() ? 0.0 : found->second;
}

// GPT-350M, 2 samples a microbatch, fp16 with recomputation: 45-47 TFLOP/s per GPU (Alpa, OSDI'22),
// counting the products of 4 passes through the layers and 3 through the head. Half the bytes and
// the tensor cores' rate are, for an fp32 graph, twice the bandwidth and that rate.
TEST(PublishedFigures, OneV100TrainsGpt350mInFp16) {
  const RunConfig config = load_run_config(ALPA_SOURCE_DIR "/configs/gpt/gpt-350m.yaml",
                                           {"parallel.method=data", "training.global_batch=2"});
  const Graph graph = build_graph(config, 2);
  ClusterSpec v100 = one_v100();
  DeviceKind& kind = v100.kinds.front();
  kind.peak_flops = {{DType::f32, peak(kind, DType::f16)}, {DType::f64, peak(kind, DType::f64)}};
  kind.memory_bandwidth *= 2;
  MethodRequest request;
  request.parallel = config.parallel;
  request.global_batch = 2;
  const Plan plan = plan_by_method(request, [&](std::int64_t) { return graph; });
  const StageTimes times = price(graph, plan, v100, no_workspace).stages.front();
  double head = 0.0;
  double all = 0.0;
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward) continue;
    all += flops_of(op).value;
    if (op.name.starts_with("head")) head += flops_of(op).value;
  }
  ASSERT_GT(head, 0.0);
  const double head_time = head / (peak(kind, DType::f32) * product_share(kind, {head}));
  const double seconds = 2 * times.forward.value - head_time + times.backward.value;
  const double rate = (4 * (all - head) + 3 * head) / seconds;
  EXPECT_GE(rate, 45e12);
  EXPECT_LE(rate, 47e12);
  std::printf("GPT-350M, fp16 with recomputation: %.1f TFLOP/s\n", rate * 1e-12);
}

/// Times of the kernels of Wide-ResNet-50, adding up FLOPs and seconds as it goes.
struct WideResnet {
  const DeviceKind& kind;
  double images;
  double flops = 0.0;
  double seconds = 0.0;

  void kernel(double work, double elements) {
    const Bytes moved{static_cast<std::int64_t>(4.0 * elements)};
    seconds += kernel_time(kind, DType::f32, Flops{work}, moved)->value;
    flops += work;
  }

  /// Convolution, its two derivatives, and batch norm with ReLU: statistics and result forward (1
  /// read, 1 read and 1 write), sums and gradient backward (2 reads, 2 reads and 1 write).
  void convolution(double side, double in, double out, double window, double stride) {
    const double result_side = side / stride;
    const double x = images * side * side * in;
    const double y = images * result_side * result_side * out;
    const double w = window * window * in * out;
    for (int pass = 0; pass < 3; ++pass) kernel(2 * y * window * window * in, x + y + w);
    for (const double passes : {1.0, 2.0, 2.0, 3.0}) kernel(0, passes * y);
  }

  /// Bottlenecks of 1x1 to f, 3x3 to 2f, 1x1 to 4f channels (Zagoruyko, Komodakis 2016).
  void stage(int blocks, double side, double in, double f, double first_stride) {
    for (int b = 0; b < blocks; ++b) {
      const double stride = b == 0 ? first_stride : 1.0;
      convolution(side, in, f, 1, 1);
      convolution(side, f, 2 * f, 3, stride);
      if (b == 0) convolution(side, in, 4 * f, 1, stride);
      side /= stride;
      convolution(side, 2 * f, 4 * f, 1, 1);
      kernel(0, 5 * images * side * side * 4 * f);  // residual, forward and backward
      in = 4 * f;
    }
  }
};

// Wide-ResNet-250M: 50 layers, 160 channels, width 2, 224^2 images, 64 of them a microbatch, fp32:
// 8.3 TFLOP/s per GPU (Alpa, OSDI'22).
TEST(PublishedFigures, OneV100TrainsWideResnet250mInFp32) {
  const ClusterSpec v100 = one_v100();
  WideResnet model{v100.kinds.front(), 64};
  model.convolution(224, 3, 160, 7, 2);
  model.stage(3, 56, 160, 160, 1);
  model.stage(4, 56, 640, 320, 2);
  model.stage(6, 28, 1280, 640, 2);
  model.stage(3, 14, 2560, 1280, 2);
  const double rate = model.flops / model.seconds;
  EXPECT_NEAR(rate, 8.3e12, 0.2e12);
  std::printf("Wide-ResNet-250M, fp32: %.2f TFLOP/s\n", rate * 1e-12);
}

}  // namespace
}  // namespace alpa
