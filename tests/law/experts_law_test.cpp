#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "law/models.hpp"
#include "law/random_law.hpp"

/// The law for mixtures of experts: top 1 and top 2, groups smaller and larger than a sample,
/// tokens dropped, norms before and after, other capacities in evaluation.
namespace alpa::law {
namespace {

TransformerConfig uneven_experts() { return std::get<TransformerConfig>(tiny_experts().shape); }

/// Top 1, groups of half a sample, experts in every layer, RMS norm after the sum, swiglu, no bias.
TransformerConfig other_experts() {
  TransformerConfig shape = uneven_experts();
  shape.layers = 2;
  shape.norm = Norm::rms;
  shape.norm_position = NormPosition::post;
  shape.activation = Activation::swiglu;
  shape.bias = false;
  shape.tied_embedding = false;
  shape.moe->every = 1;
  shape.moe->top_k = 1;
  shape.moe->experts = 4;
  shape.moe->group = 3;
  shape.moe->capacity_factor = 1.3;
  shape.moe->evaluation_capacity_factor = 1.3;
  return shape;
}

Case case_of_experts(const TransformerConfig& shape, OptimizerKind kind) {
  ModelConfig model = preset_defaults(Preset::moe);
  model.shape = shape;
  Case made = case_of_model(model, kind);
  made.steps = 8;
  return made;
}

TEST(ExpertsLaw, RandomPlans) {
  expect_law({case_of_experts(uneven_experts(), OptimizerKind::momentum),
              case_of_experts(uneven_experts(), OptimizerKind::adamw)},
             num_plans(30), 11);
}

TEST(ExpertsLaw, OtherRandomPlans) {
  expect_law({case_of_experts(other_experts(), OptimizerKind::adam)}, num_plans(12), 44);
}

TEST(ExpertsLaw, Methods) {
  for (const auto& shape : {uneven_experts(), other_experts()}) {
    const Case test = case_of_experts(shape, OptimizerKind::adamw);
    const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
    const auto expect_truth = [&](Method method, int ranks, const ParallelConfig& parallel) {
      SCOPED_TRACE(name_of_method(method) + " on " + std::to_string(ranks));
      expect_equal(truth, train(test, plan_of(test, method, ranks, parallel)));
    };
    for (const int ranks : {2, 4}) {
      for (const Method method : {Method::data, Method::zero1, Method::zero2, Method::zero3,
                                  Method::intra_only, Method::heuristic}) {
        expect_truth(method, ranks, {});
      }
      expect_truth(Method::megatron, ranks, degrees(1, ranks, 1));
    }
    expect_truth(Method::megatron, 8, degrees(2, 2, 2));
    expect_truth(Method::megatron, 4, degrees(2, 2, 1));
    expect_truth(Method::inter_only, 2, microbatches(4));
    expect_truth(Method::pipedream, 2, microbatches(2));
    expect_truth(Method::zero3, 2, microbatches(2));
  }
}

/// Sizes that the ranks divide; two layers of experts, groups of one sample.
TransformerConfig even_experts() {
  TransformerConfig shape = uneven_experts();
  shape.layers = 4;
  shape.hidden = 8;
  shape.heads = 4;
  shape.feed_forward = 16;
  shape.moe->experts = 8;
  shape.moe->group = 6;
  shape.moe->capacity_factor = 1.25;
  return shape;
}

bool splits_experts(const Operator& op) {
  const int x = op.rule.factor('x');
  const bool moves = std::holds_alternative<Dispatch>(op.kernel) ||
                     std::holds_alternative<Combine>(op.kernel) ||
                     std::holds_alternative<GateGradient>(op.kernel);
  return x >= 0 && !moves && !op.rule.factors[static_cast<std::size_t>(x)].whole;
}

/// Data parallelism in which each rank holds some of the experts: tokens go there.
Plan expert_parallel(const Case& test, int ranks) {
  Plan plan = plan_of(test, Method::data, ranks);
  const Graph graph = test.make_graph(test.global_batch);
  std::set<TensorId> partial;
  for (const Operator& op : graph.operators) {
    Strategy& strategy = plan.stages[0].strategies[op.name];
    if (splits_experts(op)) {
      strategy = parse_strategy("x@0");
      if (op.phase == Phase::reduce) partial.insert(op.results.begin(), op.results.end());
    }
    if (partial.contains(op.operands.empty() ? TensorId{} : op.operands[0]) &&
        std::holds_alternative<Contribute>(op.kernel)) {
      strategy = parse_strategy("linear0@0");
    }
  }
  plan.method = "by hand";
  validate(plan, graph);
  return plan;
}

// Two all-to-alls there and back in forward, two in backward; nothing else of the experts moves.
TEST(ExpertsLaw, ExpertParallelismIsAllToAllsByResharding) {
  constexpr int kRanks = 4;
  Case test = case_of_experts(even_experts(), OptimizerKind::adamw);
  test.steps = 5;
  const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
  const Outcome found = train(test, expert_parallel(test, kRanks));
  expect_equal(truth, found);

  const TransformerConfig shape = even_experts();
  const auto value = [](std::int64_t n) { return static_cast<double>(n); };
  const double h = value(shape.hidden), f = value(shape.feed_forward);
  const double experts = value(shape.moe->experts), tokens = value(8 * shape.sequence);
  const double groups = tokens / value(shape.moe->group);
  const double slots = experts * groups * std::ceil(1.25 * 2 * value(shape.moe->group) / experts);
  const double attention = 8 * tokens * h * h + 4 * tokens * value(shape.sequence) * h;
  const double layers = 4 * attention + 2 * 4 * tokens * h * f;
  const double mixtures = 2 * (2 * tokens * h * experts + 4 * slots * h * f);
  const double flops = 3 * (layers + mixtures + 2 * tokens * h * value(shape.vocabulary));
  double executed = 0.0;
  for (const Executed& rank : found.executed) executed += rank.flops / test.steps;
  EXPECT_NEAR(executed, flops, 0.05 * flops);
  for (const ProgramTotals& rank : found.totals) {
    std::map<std::string, double> bytes(rank.bytes_sent.begin(), rank.bytes_sent.end());
    std::map<std::string, std::int64_t> counts(rank.counts.begin(), rank.counts.end());
    EXPECT_EQ(counts["all_to_all"], 2 * 4);
    const double piece = slots * h * 8 / kRanks;  // bytes of a rank's slots in fp64
    EXPECT_DOUBLE_EQ(bytes["all_to_all"], 8 * piece * (kRanks - 1) / kRanks);
    EXPECT_EQ(counts["all_gather"], 0);
  }
}

}  // namespace
}  // namespace alpa::law
