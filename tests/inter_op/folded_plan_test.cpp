#include "folded_plan.hpp"

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/graph/recompute.hpp"
#include "alpa/intra_op/folding.hpp"
#include "alpa/simulate/price.hpp"

#include "inter_op/search_models.hpp"

/// What a plan takes, told of few of many equal layers, is what it takes told of all.
namespace alpa {
namespace {

constexpr int kDevices = 4;

constexpr int kBatch = 32;

/// Devices that know all precisions.
ClusterSpec devices() {
  ClusterSpec spec = search_tests::cluster(2, kDevices / 2);
  spec.kinds.front().peak_flops = {{DType::f32, 1e9}, {DType::f64, 5e8}, {DType::f16, 4e9}};
  return spec;
}

/// Layers of one kind in one chunk choose alike under a method; the ends of the line hold what no
/// other layer does.
std::vector<int> kinds_of(const RunConfig& config, const Plan& plan) {
  std::vector<int> kinds = layer_kinds(config.model);
  const auto layers = static_cast<int>(kinds.size());
  for (int l = 0; l < layers; ++l) {
    int& kind = kinds[static_cast<std::size_t>(l)];
    kind = 2 * chunk_of_layer(plan, l) + kind;
    if (l == 0 || l == layers - 1) kind = -1 - l;
  }
  return kinds;
}

FoldedPlan folded_like(const RunConfig& config, const Plan& plan, const Graph& whole,
                       const LayerLine& line, const Graph& some) {
  Plan few = plan;
  few.recompute = some.recompute;
  for (StagePlan& stage : few.stages) {
    stage.strategies.clear();
    stage.retention.clear();
    for (auto& [first, last] : stage.chunks) {
      first = line.like(first);
      last = line.like(last);
    }
  }
  const FoldedPlan all{plan, LayerLine(static_cast<int>(layer_kinds(config.model).size()))};
  return {with_choices_of(all, whole, std::move(few), some, line), line};
}

void expect_close(double a, double b) { EXPECT_NEAR(a, b, 1e-12 * std::abs(b)); }

void expect_same_price(const PlanPrice& a, const PlanPrice& b) {
  expect_close(a.step_time.value, b.step_time.value);
  expect_close(a.pipeline.value, b.pipeline.value);
  expect_close(a.norm.value, b.norm.value);
  EXPECT_EQ(a.arenas, b.arenas);
  ASSERT_EQ(a.stages.size(), b.stages.size());
  for (std::size_t s = 0; s < a.stages.size(); ++s) {
    for (const auto part : {&StageTimes::prepare, &StageTimes::forward, &StageTimes::backward,
                            &StageTimes::reduce, &StageTimes::update}) {
      expect_close((a.stages[s].*part).value, (b.stages[s].*part).value);
    }
    expect_close(a.collectives[s].value, b.collectives[s].value);
    EXPECT_EQ(a.totals[s].memory, b.totals[s].memory);
    EXPECT_EQ(a.totals[s].counts, b.totals[s].counts);
    expect_close(a.totals[s].flops, b.totals[s].flops);
    ASSERT_EQ(a.totals[s].bytes_sent.size(), b.totals[s].bytes_sent.size());
    for (std::size_t k = 0; k < a.totals[s].bytes_sent.size(); ++k) {
      expect_close(a.totals[s].bytes_sent[k].second, b.totals[s].bytes_sent[k].second);
    }
  }
}

/// How a plan by hand is varied.
struct Variation {
  Method method;
  int pipeline = 1, tensor = 1;
  Recompute recompute = Recompute::none;
  PipelineKind schedule = PipelineKind::one_f_one_b;
  Precision precision = Precision::fp32;
};

std::optional<Plan> plan_for(const RunConfig& config, const Variation& by) {
  MethodRequest request;
  request.parallel.method = by.method;
  request.world_size = kDevices;
  request.global_batch = config.training.global_batch;
  request.samples_of_group = samples_of_group(config.model);
  request.parallel.recompute = by.recompute;
  request.parallel.microbatches = by.pipeline > 1 ? 8 : 2;
  if (by.method == Method::megatron) {
    request.parallel.pipeline = by.pipeline;
    request.parallel.tensor = by.tensor;
    request.parallel.data = kDevices / by.pipeline / by.tensor;
  }
  Plan plan = plan_by_method(
      request, [&](std::int64_t microbatch) { return build_graph(config, microbatch); });
  if (plan.stages.size() > 1) {
    plan.schedule = by.schedule;
    plan.warm_up.clear();
  }
  return plan;
}

TEST(FoldedPlan, IsPricedAndPackedAsTheWholeOne) {
  const ClusterSpec spec = devices();
  const std::vector<Variation> variations{
      {Method::data},
      {Method::zero2},
      {Method::zero3, 1, 1, Recompute::full},
      {Method::zero3, 1, 1, Recompute::attention, PipelineKind::one_f_one_b, Precision::fp16},
      {Method::intra_only},
      {Method::inter_only},
      {Method::pipedream, 4, 1, Recompute::full, PipelineKind::gpipe},
      {Method::megatron, 2, 2, Recompute::none, PipelineKind::zero_bubble},
      {Method::megatron, 2, 2, Recompute::full, PipelineKind::one_f_one_b, Precision::fp16},
      {Method::megatron, 2, 1, Recompute::attention, PipelineKind::one_f_one_b, Precision::fp16},
      {Method::megatron, 4, 1, Recompute::none, PipelineKind::one_f_one_b, Precision::fp16}};
  for (const Preset preset : {Preset::gpt, Preset::moe, Preset::llama, Preset::bert}) {
    const bool all = preset == Preset::gpt || preset == Preset::moe;
    for (std::size_t v = 0; v < variations.size(); v += all ? 1 : 4) {
      const Variation& by = variations[v];
      SCOPED_TRACE(std::to_string(static_cast<int>(preset)) + " " +
                   std::string(name_of(by.method)) + " pipeline " + std::to_string(by.pipeline) +
                   " recompute " + std::to_string(static_cast<int>(by.recompute)));
      RunConfig config = search_tests::deep(preset, preset == Preset::moe ? 58 : 34, kBatch);
      config.training.precision = by.precision;
      const auto plan = plan_for(config, by);
      const std::int64_t microbatch = config.training.global_batch / plan->num_microbatches;
      const Graph whole = with_recomputation(build_graph(config, microbatch), plan->recompute);
      const LayerLine line = counted_line(kinds_of(config, *plan));
      ASSERT_FALSE(line.is_whole());
      const Graph some = with_recomputation(build_graph(config, microbatch, kept_layers(line)),
                                            kept_of(plan->recompute, line));
      ASSERT_LT(some.operators.size(), whole.operators.size());
      const FoldedPlan folded = folded_like(config, *plan, whole, line, some);
      EXPECT_EQ(unfolded(folded, some, whole), *plan);
      EXPECT_EQ(recompute_of(folded), plan->recompute);
      validate(folded.plan, some);

      const auto found = price(some, line, folded.plan, spec, no_workspace);
      ASSERT_TRUE(found);
      expect_same_price(*found, price(whole, *plan, spec, no_workspace));
      const auto memory = stage_memory(some, line, folded.plan, no_workspace);
      const auto truth = stage_memory(whole, *plan, no_workspace);
      ASSERT_TRUE(memory);
      for (std::size_t s = 0; s < truth.size(); ++s) {
        EXPECT_EQ((*memory)[s].arena, truth[s].arena);
        EXPECT_EQ((*memory)[s].memory, truth[s].memory);
      }
    }
  }
}

TEST(FoldedPlan, KeepsAllLayersWhereFewCouldBeLeftOut) {
  EXPECT_TRUE(counted_line({0, 0, 0}).is_whole());
  EXPECT_TRUE(counted_line({0, 0, 1, 1, 2, 2, 3, 3}).is_whole());
  const LayerLine line = counted_line({7, 0, 0, 0, 0, 0, 0, 0, 0, 8});
  ASSERT_EQ(line.runs().size(), 1U);
  EXPECT_EQ(kept_layers(line), (std::vector<int>{0, 1, 2, 8, 9}));
}

}  // namespace
}  // namespace alpa
