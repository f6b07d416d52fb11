#include <array>
#include <iostream>

#include <gtest/gtest.h>

#include "intra_op/models.hpp"

/// What the model says of a plan is what its lowered program takes.
namespace alpa {
namespace {

using test::costs_of;
using test::one_host;

std::array<double, 5> phases(const StageTimes& t) {
  return {t.prepare.value, t.forward.value, t.backward.value, t.reduce.value, t.update.value};
}

/// How often the model and the program agreed.
struct Score {
  int phases = 0, equal = 0;
  double least_share = 1.0;  ///< of model / program times
  int stages = 0;
  double bytes = 0.0, arenas = 0.0;
};

/// Microbatches of a stage that are in flight at once.
int in_flight(const Plan& plan, std::size_t stage) {
  const int left = static_cast<int>(plan.stages.size() - stage);
  if (plan.schedule == PipelineKind::gpipe) return plan.num_microbatches;
  const int depth = plan.warm_up.empty() ? left : plan.warm_up[stage];
  return std::min(depth, plan.num_microbatches);
}

void compare(const Graph& graph, const Plan& plan, const ClusterSpec& cluster, Score& score) {
  const char* names[] = {"prepare", "forward", "backward", "reduce", "update"};
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlan& stage = plan.stages[s];
    SCOPED_TRACE("stage " + std::to_string(s));
    const MeshCosts costs(cluster, stage.ranks, stage.mesh);
    const StageModel model(graph, costs, plan.num_microbatches, {});
    const auto [first, last] = stage.chunks[0];
    const StageAnswer answer = model.evaluate(first, last, stage, {});
    const Program program = lower(graph, plan, stage.ranks.back(), no_workspace).step;
    const auto found = phases(answer.figures.times);
    const auto truth = phases(stage_times(program, cluster, stage));
    for (std::size_t p = 0; p < 5; ++p) {
      EXPECT_LE(found[p], truth[p] * (1 + 1e-9) + 1e-15) << names[p];
      const bool equal = std::abs(found[p] - truth[p]) <= 1e-9 * truth[p] + 1e-15;
      ++score.phases;
      score.equal += equal ? 1 : 0;
      if (!equal) score.least_share = std::min(score.least_share, found[p] / truth[p]);
    }
    const StageFigures& f = answer.figures;
    const Bytes bytes = f.state + f.stash * std::int64_t{in_flight(plan, s)} + f.transient;
    EXPECT_LE(bytes.value, program.arena.value);
    ++score.stages;
    score.bytes += static_cast<double>(bytes.value) / static_cast<double>(program.arena.value);
    double layers = 0;
    for (const StageFigures& l : answer.by_layer) layers += test::total(l.times);
    EXPECT_NEAR(layers, test::total(f.times), 1e-9 * layers);
  }
}

void report(const std::string& what, const Score& score) {
  std::cout << what << ": " << score.equal << " of " << score.phases
            << " times equal, the others at least " << score.least_share
            << " of the program's; bytes " << score.bytes / score.stages << " of the arena\n";
}

Score plans_by_hand(Precision precision, Recompute recompute = Recompute::none) {
  Score score;
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    if (preset == Preset::mlp && recompute == Recompute::attention) continue;
    const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
    for (const Method method : {Method::data, Method::zero1, Method::zero2, Method::zero3,
                                Method::megatron, Method::intra_only, Method::heuristic}) {
      for (const int ranks : {2, 4}) {
        for (const int microbatches : {1, 2}) {
          ParallelConfig parallel = law::microbatches(microbatches);
          parallel.recompute = recompute;
          const Plan plan = law::plan_of(test, method, ranks, parallel);
          SCOPED_TRACE(law::name_of_method(method) + " " + std::to_string(ranks) + " " +
                       std::to_string(microbatches));
          compare(law::graph_of(test, plan), plan, one_host(4), score);
        }
      }
    }
  }
  return score;
}

TEST(Agreement, PlansByHand) {
  const Score score = plans_by_hand(Precision::fp32);
  report("by hand, one stage", score);
  EXPECT_EQ(score.equal, score.phases);
  EXPECT_GT(score.bytes / score.stages, 0.8);
}

// What backward computes again takes its original's choice and is paid in backward.
TEST(Agreement, PlansByHandThatRecompute) {
  for (const Recompute recompute : {Recompute::attention, Recompute::full}) {
    const Score score = plans_by_hand(Precision::fp32, recompute);
    report("by hand, one stage, recomputing " + std::string(name_of(recompute)), score);
    EXPECT_EQ(score.equal, score.phases);
    EXPECT_GT(score.bytes / score.stages, 0.8);
  }
}

// Parameters that are cast once a step and gathered in 16 bits; gradients that a loss scale is
// taken from live from reduce to update, those of all layers at once.
TEST(Agreement, PlansByHandIn16Bits) {
  for (const Precision precision : {Precision::bf16, Precision::fp16}) {
    const Score score = plans_by_hand(precision);
    report("by hand, one stage, " + law::name_in_files(precision), score);
    EXPECT_EQ(score.equal, score.phases);
    EXPECT_GT(score.bytes / score.stages, 0.95);
  }
}

TEST(Agreement, PipelinesByHand) {
  Score score;
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = law::case_of({preset, OptimizerKind::adam, Precision::fp32, 0.5});
    std::vector<Plan> plans{law::plan_of(test, Method::inter_only, 4),
                            law::plan_of(test, Method::pipedream, 4)};
    ParallelConfig degrees = law::degrees(2, 2, 2);
    degrees.microbatches = 2;
    plans.push_back(law::plan_of(test, Method::megatron, 8, degrees));
    for (const Plan& plan : plans) {
      SCOPED_TRACE(plan.method);
      compare(law::graph_of(test, plan), plan, one_host(8), score);
    }
  }
  report("by hand, pipelines", score);
  EXPECT_GT(score.equal, score.phases * 9 / 10);
}

Score random_plans(bool one_stage, int plans, Precision precision = Precision::fp32) {
  Score score;
  std::mt19937_64 random(7);
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
    for (int i = 0; i < plans;) {
      const int world = 1 + static_cast<int>(random() % 8);
      const Plan plan = law::random_plan(test, world, random);
      if (one_stage != (plan.stages.size() == 1)) continue;
      SCOPED_TRACE(std::to_string(static_cast<int>(preset)) + " plan " + std::to_string(i++));
      compare(law::graph_of(test, plan), plan, one_host(world), score);
    }
  }
  return score;
}

// Experts, rotary positions, encoders, windows and statistics, in 32 and 16 bits.
TEST(Agreement, EveryModel) {
  std::mt19937_64 random(11);
  Score score;
  for (const Preset preset : {Preset::llama, Preset::bert, Preset::moe, Preset::wide_resnet}) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
      const auto check = [&](const std::string& name, const Plan& plan) {
        SCOPED_TRACE(law::name_in_files(preset) + " " + law::name_in_files(precision) + name);
        compare(test.make_graph(test.global_batch / plan.num_microbatches), plan, one_host(6),
                score);
      };
      for (const Method method :
           {Method::data, Method::zero3, Method::megatron, Method::heuristic}) {
        check(law::name_of_method(method), law::plan_of(test, method, 4, law::microbatches(2)));
      }
      for (int i = 0; i < 6; ++i) {
        const int ranks = 1 + static_cast<int>(random() % 6);
        check(" plan " + std::to_string(i), law::random_plan(test, ranks, random));
      }
    }
  }
  report("every model", score);
  EXPECT_GT(score.equal, score.phases * 9 / 10);
  EXPECT_GT(score.bytes / score.stages, 0.95);
}

// A restriction, found far faster: what it finds is a choice of the model, and one by hand is no
// better.
TEST(Agreement, OneLayoutIsARestrictionThatMethodsByHandMeet) {
  const law::Case test = law::case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp32, 0.5});
  const Plan plan = law::plan_of(test, Method::data, 4);
  const Graph graph = law::graph_of(test, plan);
  const MeshCosts costs(one_host(4), plan.stages[0].ranks, plan.stages[0].mesh);
  const StageModel model(graph, costs, plan.num_microbatches, {});
  StageQuestion question;
  question.last_layer = graph.num_layers - 1;
  question.one_layout = true;
  const auto found = model.solve(question);
  ASSERT_TRUE(found.has_value());
  StagePlan stage = plan.stages[0];
  stage.strategies = found->strategies;
  stage.retention = found->retention;
  const StageAnswer again = model.evaluate(0, question.last_layer, stage, question.weights);
  EXPECT_NEAR(found->cost, again.cost, 1e-12 * again.cost);
  const StageAnswer by_hand =
      model.evaluate(0, question.last_layer, plan.stages[0], question.weights);
  EXPECT_LE(found->cost, by_hand.cost * (1 + 1e-12));
}

TEST(Agreement, RandomPlansOfOneStage) {
  const Score score = random_plans(true, 50);
  report("random, one stage", score);
  EXPECT_GT(score.equal, score.phases * 9 / 10);
}

TEST(Agreement, RandomPlansOfOneStageInBf16) {
  const Score score = random_plans(true, 30, Precision::bf16);
  report("random, one stage, bf16", score);
  EXPECT_GT(score.equal, score.phases * 9 / 10);
  EXPECT_GT(score.bytes / score.stages, 0.95);
}

TEST(Agreement, RandomPipelines) {
  const Score score = random_plans(false, 20);
  report("random, pipelines", score);
  EXPECT_GT(score.equal, score.phases * 9 / 10);
}

}  // namespace
}  // namespace alpa
