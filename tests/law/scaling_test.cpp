#include <chrono>
#include <cstdio>

#include <gtest/gtest.h>

#include "law/models.hpp"

/// More ranks, same numbers: data, operator and pipeline parallelism on 1, 2, 4 and 8 ranks.
/// Traffic is held against its closed form; the efficiency is printed, for it is the machine's.
namespace alpa::law {
namespace {

constexpr int kSteps = 5;

Case scaling_case() {
  Case test;
  test.vocabulary = {{"labels", 8}};
  ModelConfig model = preset_defaults(Preset::mlp);
  model.shape = MlpConfig{.layers = 7,
                          .hidden = 256,
                          .features = 16,
                          .classes = 8,
                          .activation = Activation::relu,
                          .initializer = {}};
  test.make_graph = [model](std::int64_t microbatch) {
    ModelOptions options;
    options.precision = Precision::fp64;
    options.clip_norm = 0.5;
    options.microbatch = microbatch;
    options.features = 16;
    return build_graph(model, OptimizerConfig{}, options);
  };
  test.global_batch = 64;
  test.steps = kSteps;
  test.learning_rate = 0.001;
  test.make_device = one_thread_cpu;
  return test;
}

double sent(const ProgramTotals& totals, const std::string& wanted) {
  for (const auto& [kind, bytes] : totals.bytes_sent) {
    if (kind == wanted) return bytes;
  }
  return 0;
}

/// Bytes that one rank sends a step in the method's main collective, fp64.
double closed_form(Method method, const Case& test, int n, int rank) {
  const double ring = 2.0 * (n - 1) / n;
  const double scalars = 3 * 8;
  const Graph graph = test.make_graph(test.global_batch);
  if (method == Method::data) {
    return ring * (8.0 * static_cast<double>(num_parameters(graph)) + scalars);
  }
  // Operator parallelism: sums of [batch, hidden] after 3 products forward and 3 backward, and of
  // [batch, classes] at the end.
  if (method == Method::megatron) return ring * (8.0 * 64 * (6 * 256 + 8) + scalars);
  // Pipeline: [batch, hidden] to the next stage, its gradient to the one before.
  const int neighbours = (rank > 0 ? 1 : 0) + (rank < n - 1 ? 1 : 0);
  return neighbours * 8.0 * 64 * 256;
}

struct Way {
  std::string name, collective;
  Method method;
};

class Scaling : public testing::TestWithParam<Way> {};

TEST_P(Scaling, KeepsNumbersAndTraffic) {
  const Way& way = GetParam();
  const Case test = scaling_case();
  const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
  double alone = 0;
  for (const int n : {1, 2, 4, 8}) {
    const ParallelConfig parallel =
        way.method == Method::megatron ? degrees(1, n, 1) : ParallelConfig{};
    const Plan plan = plan_of(test, way.method, n, parallel);
    const auto start = std::chrono::steady_clock::now();
    const Outcome found = train(test, plan);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (n == 1) alone = seconds;
    const Difference d = compare(truth, found);
    EXPECT_TRUE(d.initial_equal);
    EXPECT_LT(d.losses, 1e-9) << n;
    EXPECT_LT(d.state, 1e-9) << n << " " << d.worst_tensor;
    for (int r = 0; n > 1 && r < n; ++r) {
      const double expected = closed_form(way.method, test, n, r);
      const auto& rank = found.executed[static_cast<std::size_t>(r)];
      EXPECT_NEAR(sent(found.totals[static_cast<std::size_t>(r)], way.collective), expected,
                  1e-9 * expected)
          << "rank " << r << " of " << n;
      EXPECT_NEAR(rank.bytes_sent.at(way.collective), kSteps * expected, 1e-6 * expected)
          << "rank " << r << " of " << n;
    }
    std::printf("%-9s %d ranks: %7.1f ms a step, speed-up %4.2f, efficiency %3.0f %%\n",
                way.name.c_str(), n, 1e3 * seconds / kSteps, alone / seconds,
                100 * alone / seconds / n);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, Scaling,
                         testing::Values(Way{"data", "all_reduce", Method::data},
                                         Way{"operator", "all_reduce", Method::megatron},
                                         Way{"pipeline", "exchange", Method::pipedream}),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace alpa::law
