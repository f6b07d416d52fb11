#include "alpa/report/plan_table.hpp"

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/report/exit_report.hpp"
#include "alpa/report/text.hpp"
#include "alpa/storage/file.hpp"

#include "storage/temporary_directory.hpp"

namespace alpa {
namespace {

Operator product(const std::string& name, int layer, const Einsum& einsum, Shape left, Shape right,
                 Shape result) {
  Operator op;
  op.name = name;
  op.kernel = einsum;
  op.rule = rule_of(op.kernel, {std::move(left), std::move(right)}, {std::move(result)});
  op.layer = layer;
  op.phase = Phase::forward;
  return op;
}

/// Two layers: b e -> f -> e each.
Graph two_layers() {
  Graph graph;
  graph.num_layers = 2;
  graph.microbatch_size = 4;
  graph.parallel_letters = "f";
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer);
    graph.operators.push_back(
        product(prefix + ".up", layer, {"be", "ef", "bf"}, {4, 8}, {8, 16}, {4, 16}));
    graph.operators.push_back(
        product(prefix + ".down", layer, {"bf", "fe", "be"}, {4, 16}, {16, 8}, {4, 8}));
  }
  return graph;
}

Plan two_stages() {
  Plan plan;
  plan.method = "megatron";
  plan.world_size = 6;
  plan.num_microbatches = 3;
  plan.schedule = PipelineKind::one_f_one_b;
  plan.warm_up = {1, 0};
  StagePlan first;
  first.chunks = {{0, 0}};
  first.ranks = {0, 1, 2, 3};
  first.mesh = {{2, 2}};
  first.strategies["layers.0.up"] = parse_strategy("b@0 f@1");
  first.strategies["layers.0.down"] = parse_strategy("b@0 f@1");
  StagePlan second;
  second.chunks = {{1, 1}};
  second.ranks = {4};
  second.mesh = {{1}};
  second.strategies["layers.1.up"] = parse_strategy("replicated");
  second.strategies["layers.1.down"] = parse_strategy("replicated");
  plan.stages = {first, second};
  return plan;
}

std::vector<ProgramTotals> totals_of_ranks() {
  std::vector<ProgramTotals> all(6);
  for (std::size_t r = 0; r < all.size(); ++r) {
    all[r].memory.assign(kNumMemoryClasses, Bytes{0});
    if (r == 5) continue;
    all[r].flops = r < 4 ? 2.5e9 : 1e10;
    all[r].memory[0] = {1024};
    all[r].memory[3] = {r == 2 ? 4096 : 2048};
    if (r < 4) {
      all[r].bytes_sent = {{"all_reduce", 2048.0}};
      all[r].counts = {{"all_reduce", 7}};
    }
  }
  return all;
}

TEST(PlanTable, SaysInHowManyLayersWhatIsComputedAgain) {
  Plan plan;
  EXPECT_EQ(recompute_text(plan), "");
  plan.recompute = {Recompute::full, Recompute::none, Recompute::full, Recompute::attention};
  EXPECT_EQ(recompute_text(plan), "full in 2 of 4 layers, attention in 1");
  StagePlan stage;
  stage.chunks = {{2, 3}};
  EXPECT_EQ(recompute_text(plan, stage), "attention 3, full 2");
}

TEST(SplitText, ComesFromTheStrategiesOfProducts) {
  const Graph graph = two_layers();
  StagePlan stage = two_stages().stages[0];
  EXPECT_EQ(split_text(stage, graph, 'b'), "2@0");
  EXPECT_EQ(split_text(stage, graph, 'f'), "2@1");
  EXPECT_EQ(split_text(stage, graph, 'e'), "-");
  EXPECT_EQ(split_text(stage, graph, 'v'), "-");
  stage.strategies["layers.0.up"] = parse_strategy("b@0 b@1");
  stage.strategies["layers.0.down"] = parse_strategy("b@0 b@1");
  EXPECT_EQ(split_text(stage, graph, 'b'), "4@01");
  EXPECT_EQ(split_text(stage, graph, 'f'), "-");
  stage.strategies["layers.0.down"] = parse_strategy("b@1");
  EXPECT_EQ(split_text(stage, graph, 'b'), "2..4");
  stage.strategies["layers.0.up"] = parse_strategy("b@0");
  EXPECT_EQ(split_text(stage, graph, 'b'), "2");
}

TEST(PlanTable, SaysWhatRunsWhere) {
  const auto totals = totals_of_ranks();
  EXPECT_EQ(
      plan_table(two_stages(), two_layers(), totals),
      "plan: megatron, 6 ranks, 2 stages, schedule 1f1b (warm-up 1 0), 3 microbatches of 4 "
      "samples\n"
      "idle ranks: 5\n"
      "\n"
      "stage  layers  ranks  mesh  batch  feed-forward\n"
      "0           0    0-3   2x2    2@0           2@1\n"
      "1           1      4     1      -             -\n"
      "\n"
      "memory per device  parameters  gradients  optimizer  stash  transient  buffers  total\n"
      "stage 0                 1 KiB          -          -  4 KiB          -        -  5 KiB\n"
      "stage 1                 1 KiB          -          -  2 KiB          -        -  3 KiB\n"
      "\n"
      "a step, per device  FLOPs  all_reduce\n"
      "stage 0             2.5 G  2 KiB in 7\n"
      "stage 1              10 G           -\n");
}

TEST(Text, FiguresAndRanges) {
  EXPECT_EQ(with_prefix(0.0), "0");
  EXPECT_EQ(with_prefix(950.0), "950");
  EXPECT_EQ(with_prefix(1250.0), "1.25 k");
  EXPECT_EQ(with_prefix(999.96), "1 k");
  EXPECT_EQ(with_prefix(3.4e12), "3.4 T");
  EXPECT_EQ(ranks_text({0, 1, 2, 3, 6, 8, 9}), "0-3,6,8-9");
  EXPECT_EQ(ranks_text({}), "");
}

TEST(ExitYaml, HoldsTheRecordAndWhatEachRankExecuted) {
  Executed executed;
  executed.flops = 1e9;
  executed.bytes_sent = {{"all_gather", 24.0}, {"all_reduce", 0.5}};
  executed.counts = {{"all_gather", 3}, {"all_reduce", 1}};
  const std::vector<Bytes> memory = {{1}, {2}, {3}, {4}, {5}, {6}};
  const std::vector<std::string> ranks = {rank_yaml(0, 20, executed, memory),
                                          rank_yaml(1, 0, Executed{}, memory)};
  const ExitRecord record{0, "done", 20, 0};
  EXPECT_EQ(exit_yaml(record, ranks),
            "code: 0\nreason: \"done\"\nstep: 20\nrank: 0\nranks:\n"
            "  - rank: 0\n    steps: 20\n    flops: 1.0e+09\n"
            "    bytes_sent: {all_gather: 24.0, all_reduce: 0.5}\n"
            "    counts: {all_gather: 3, all_reduce: 1}\n"
            "    memory: {parameters: 1, gradients: 2, optimizer: 3, stash: 4, transient: 5, "
            "buffers: 6, total: 21}\n"
            "  - rank: 1\n    steps: 0\n    flops: 0.0\n    bytes_sent: {}\n    counts: {}\n"
            "    memory: {parameters: 1, gradients: 2, optimizer: 3, stash: 4, transient: 5, "
            "buffers: 6, total: 21}\n");
  EXPECT_EQ(exit_yaml(record, {}), "code: 0\nreason: \"done\"\nstep: 20\nrank: 0\nranks: []\n");
}

TEST(ExitYaml, IsWhatTheNextStartReads) {
  const TemporaryDirectory run;
  write_exit_yaml(run.path(), {85, "SIGUSR1", 12, 0}, {});
  EXPECT_EQ(cause_of_last_exit(run.path()).kind, LastExit::Kind::orderly);
  write_exit_yaml(run.path(), {79, "loss is nan", 12, 3}, {});
  const LastExit last = cause_of_last_exit(run.path());
  EXPECT_EQ(last.kind, LastExit::Kind::failed);
  EXPECT_EQ(last.cause, "exit code 79 on rank 3 at step 12: loss is nan");
}

}  // namespace
}  // namespace alpa
