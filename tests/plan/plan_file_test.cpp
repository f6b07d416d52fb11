#include "alpa/plan/plan_file.hpp"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "law/models.hpp"

namespace alpa {
namespace {

using law::Case;

Case model(Preset preset) {
  return law::case_of({preset, OptimizerKind::momentum, Precision::fp32, 0.5});
}

/// Two stages of two ranks with a retention, an arrival and a depth.
struct Example {
  Case test = model(Preset::mlp);
  Plan plan;
  Graph graph;
  std::string text;

  Example() {
    ParallelConfig parallel = law::degrees(2, 1, 2);
    parallel.microbatches = 4;
    parallel.recompute = Recompute::full;
    plan = law::plan_of(test, Method::megatron, 4, parallel);
    plan.warm_up = {2, 1};
    plan.recompute[6] = Recompute::none;
    plan.stages[0].retention["layers.0.linear.weight"] = Retention::repeat;
    plan.stages[1].arrivals["layers.3.dropout"] = parse_sharding_spec("[S0,R]");
    graph = graph_of(test, plan);
    text = to_yaml(plan, graph);
  }
};

TEST(PlanFile, ReadsBackAsItself) {
  const Example e;
  EXPECT_EQ(parse_plan(e.text, "plan.yaml"), e.plan);
  validate(parse_plan(e.text, "plan.yaml"), e.graph);
}

TEST(PlanFile, SaysWhatIsComputedAgainByRunsOfLayers) {
  const Example e;
  EXPECT_NE(e.text.find("recompute:\n      full: [[0, 3]]\n"), std::string::npos) << e.text;
  EXPECT_NE(e.text.find("recompute:\n      full: [[4, 5], [7, 7]]\n"), std::string::npos);
  EXPECT_EQ(e.text.find("name: recomputed."), std::string::npos);
  const Case gpt = model(Preset::gpt);
  ParallelConfig parallel;
  parallel.recompute = Recompute::attention;
  const Plan plan = law::plan_of(gpt, Method::data, 2, parallel);
  const std::string text = to_yaml(plan, graph_of(gpt, plan));
  EXPECT_NE(text.find("recompute:\n      attention: [[0, 7]]\n"), std::string::npos) << text;
  EXPECT_EQ(parse_plan(text, "plan.yaml"), plan);
  parallel.recompute = Recompute::none;
  const Plan none = law::plan_of(gpt, Method::data, 2, parallel);
  EXPECT_EQ(to_yaml(none, graph_of(gpt, none)).find("recompute"), std::string::npos);
}

TEST(PlanFile, SaysWhichChunksAStageHolds) {
  const Case test = model(Preset::mlp);
  ParallelConfig parallel = law::microbatches(4);
  parallel.schedule = PipelineSchedule::interleaved;
  const Plan plan = law::plan_of(test, Method::pipedream, 2, parallel);
  const std::string text = to_yaml(plan, graph_of(test, plan));
  EXPECT_NE(text.find("schedule:\n  name: interleaved\n"), std::string::npos) << text;
  EXPECT_NE(text.find("- chunks: [[0, 1], [4, 5]]\n"), std::string::npos);
  EXPECT_NE(text.find("- chunks: [[2, 3], [6, 7]]\n"), std::string::npos);
}

TEST(PlanFile, ReadsBackAsItselfUnderRandomPlans) {
  std::mt19937_64 random(7);
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const Case test = model(preset);
    for (int i = 0; i < 30; ++i) {
      const int world = 1 + static_cast<int>(random() % 8);
      Plan plan = i % 4 == 2   ? random_interleaved_plan(test, world, random)
                  : i % 4 == 3 ? random_zero_bubble_plan(test, world, random)
                               : random_plan(test, world, random);
      const Graph graph = graph_of(test, plan);
      plan.graph_fingerprint = fingerprint(graph);
      const std::string text = to_yaml(plan, graph);
      const Plan again = parse_plan(text, "plan.yaml");
      EXPECT_EQ(again, plan);
      EXPECT_EQ(to_yaml(again, graph), text);
    }
  }
}

TEST(PlanFile, ShowsFiguresAndDoesNotReadThem) {
  const Example e;
  StageSummary stage;
  stage.memory = {{"parameters", {1234}}, {"total", {5678}}};
  stage.flops = 99.5;
  stage.bytes_sent = {{"all_reduce", 7.0}};
  PlanFigures figures;
  stage.time = StageSeconds{{0.25}, {0.5}, {0.125}, {0.0625}, {2.0}, {0.375}};
  figures.stages = {stage, stage};
  figures.cluster_fingerprint = 0x11ab;
  figures.predicted = PredictedFigures{{4.5}, 1.0, 2.0, 3.0, 0.25, 64.0, 7.5};
  figures.search = SearchFigures{{4.5}, 4.0, 0.125, 84, 12, "done"};
  figures.compared = {{"zero2", Seconds{5.5}, {}, "", 32}, {"data", {}, Bytes{53}, ""}};
  const std::string text = to_yaml(e.plan, e.graph, figures);
  EXPECT_NE(text.find("parameters: 1234"), std::string::npos);
  EXPECT_NE(text.find("flops: 99.5"), std::string::npos);
  EXPECT_NE(text.find("all_reduce: 7"), std::string::npos);
  for (const char* line :
       {"fingerprint: \"00000000000011ab\"", "forward: 0.25", "update: 2.0", "seconds: 0.375",
        "step_time: 4.5", "speedup_over_one_device: 7.5", "objective: 4.5", "lower_bound: 4.0",
        "gap: 0.125", "ilp_problems: 84", "distinct_subproblems: 12", "stopped: done",
        "step_time: 5.5", "microbatches: 32", "does_not_fit_by: 53"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
  EXPECT_EQ(parse_plan(text, "plan.yaml"), e.plan);
}

TEST(PlanFile, SaysWhatIsSplitAndWhatIsSent) {
  const Case test = model(Preset::gpt);
  const Plan plan = law::plan_of(test, Method::megatron, 4, law::degrees(2, 2, 1));
  const Graph graph = graph_of(test, plan);
  std::map<std::string, std::string> summary;
  for (const auto& [what, how] : summary_of(plan.stages[0], graph)) summary[what] = how;
  EXPECT_NE(summary["batch"].find("axis 0 (2)"), std::string::npos) << summary["batch"];
  EXPECT_NE(summary["feed_forward"].find("axis 1 (2)"), std::string::npos);
  EXPECT_FALSE(summary.contains("hidden"));
  EXPECT_NE(to_yaml(plan, graph).find("collectives: [all_reduce]"), std::string::npos);
  const Plan one = law::plan_of(test, Method::data, 1);
  EXPECT_TRUE(summary_of(one.stages[0], graph_of(test, one)).empty());
}

/// A plan file in which one text is replaced, and what must be said about it. The mistake is
/// reported at the '^' in the new text, which is not part of it, or at the first `anchor`.
struct Bad {
  std::string name, from, to, message, anchor = {};
};

/// "line:column" of a position, from 1.
std::string place_of(const std::string& text, std::size_t at) {
  const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  const auto begin = line == 0 ? 0 : text.rfind('\n', at - 1) + 1;
  return std::to_string(line + 1) + ":" + std::to_string(at - begin + 1);
}

class BadPlanFile : public testing::TestWithParam<Bad> {};

TEST_P(BadPlanFile, IsNamedWithItsPlace) {
  const Bad& bad = GetParam();
  std::string text = Example().text;
  const auto at = text.find(bad.from);
  ASSERT_NE(at, std::string::npos) << bad.from;
  text.replace(at, bad.from.size(), bad.to);
  std::size_t mistake = text.find(bad.anchor.empty() ? "^" : bad.anchor);
  ASSERT_NE(mistake, std::string::npos);
  if (bad.anchor.empty()) text.erase(mistake, 1);
  try {
    static_cast<void>(parse_plan(text, "plan.yaml"));
    FAIL() << "accepted";
  } catch (const UserError& error) {
    const std::string what = error.what();
    EXPECT_EQ(error.code(), ExitCode::configuration);
    EXPECT_NE(what.find("plan.yaml:" + place_of(text, mistake) + ": "), std::string::npos) << what;
    EXPECT_NE(what.find(bad.message), std::string::npos) << what;
  }
}

const std::vector<Bad> kBad = {
    {"version", "version: 1", "version: ^2", "version: found 2"},
    {"version_missing", "version: 1\n", "", "version: missing", "method: megatron"},
    {"unknown_key", "method: megatron", "method: megatron\n^stage: 3", "stage"},
    {"fingerprint", "fingerprint: \"", "fingerprint: ^\"x", "16 hexadecimal digits"},
    {"fingerprint_missing", "fingerprint:", "finger:", "fingerprint: missing", "finger:"},
    {"cluster_is_text", "cluster:\n", "cluster: ^four\nidle:\n", "cluster: found"},
    {"devices", "devices: 4", "devices: ^0", "cluster.devices: found 0"},
    {"devices_huge", "devices: 4", "devices: ^99999999999999999999", "an integer from 1"},
    {"microbatches", "microbatches: 4", "microbatches: ^2.5", "found 2.5"},
    {"microbatches_missing", "microbatches: 4\n", "", "microbatches: missing", "version"},
    {"schedule", "name: \"1f1b\"", "name: ^zigzag",
     "expected gpipe, 1f1b, interleaved or zero_bubble"},
    {"warm_up", "warm_up: [2, 1]", "warm_up: [2, ^a]", "schedule.warm_up[1]: found a"},
    {"warm_up_is_number", "warm_up: [2, 1]", "warm_up: ^2", "a list"},
    {"unknown_key_of_schedule", "warm_up:", "^warmup:", "schedule.warmup"},
    {"chunk_of_three", "chunks: [[0, 3]]", "chunks: [^[0, 3, 4]]", "two layers"},
    {"chunk_negative", "chunks: [[0, 3]]", "chunks: [[^-1, 3]]", "found -1"},
    {"chunks_missing", "chunks: [[0, 3]]\n    ranks", "ranks", "chunks: missing", "ranks: [0, 1]"},
    {"ranks", "ranks: [0, 1]", "ranks: [0, ^one]", "stages[0].ranks[1]: found one"},
    {"mesh", "logical_mesh: [2]", "logical_mesh: [^0]", "logical_mesh[0]: found 0"},
    {"recompute_word", "full: [[0, 3]]", "^all: [[0, 3]]", "stages[0].recompute.all"},
    {"recompute_is_word", "recompute:\n      full: [[0, 3]]", "recompute: ^full",
     "stages[0].recompute: found full, expected a mapping"},
    {"recompute_is_run", "full: [[0, 3]]", "full: [^0, 3]",
     "stages[0].recompute.full[0]: found 0, expected two layers, first and last"},
    {"recompute_backwards", "full: [[0, 3]]", "full: [^[3, 0]]",
     "stages[0].recompute.full[0]: found a list, expected two layers, first and last"},
    {"recompute_outside", "full: [[0, 3]]", "full: [^[0, 4]]",
     "stages[0].recompute.full[0]: found layers 0 to 4, expected layers of the stage's chunks"},
    {"recompute_twice", "full: [[0, 3]]", "attention: [[0, 3]]\n      full: [^[3, 3]]",
     "stages[0].recompute.full[0]: found layers 3 to 3, expected layers that no other run names"},
    {"retention", "weight: repeat", "weight: ^often", "step, keep or repeat"},
    {"arrival", "dropout: \"[S0,R]\"", "dropout: ^\"[S0,R\"", "layout '[S0,R'"},
    {"strategy", "strategy: \"b@0\"", "strategy: ^\"b@\"", "'b@' is not of the form"},
    {"strategy_missing", "        strategy: \"b@0\"\n", "", "strategy: missing",
     "name: layers.0.linear"},
    {"operator_name_missing", "name: layers.0.linear\n        kind", "^kind", "name: missing"},
    {"operator_twice", "name: layers.0.gelu", "^name: layers.0.linear", "stands twice"},
    {"unknown_key_of_operator", "phase: forward", "^fase: forward", "fase"},
    {"unknown_key_of_stage", "    summary:", "    ^summery:", "summery"},
    {"stages_missing", "stages:", "stage:", "stages: missing", "version"},
    {"key_twice", "method: megatron", "method: megatron\n^method: data", "method"},
};

INSTANTIATE_TEST_SUITE_P(All, BadPlanFile, testing::ValuesIn(kBad),
                         [](const auto& each) { return each.param.name; });

TEST(PlanFile, EveryMistakeIsReportedAtOnce) {
  std::string text = Example().text;
  const std::vector<std::pair<std::string, std::string>> mistakes = {
      {"devices: 4", "devices: x"},
      {"weight: repeat", "weight: often"},
      {"ranks: [0, 1]", "ranks: [0, -1]"}};
  for (const auto& [from, to] : mistakes) text.replace(text.find(from), from.size(), to);
  try {
    static_cast<void>(parse_plan(text, "plan.yaml"));
    FAIL() << "accepted";
  } catch (const UserError& error) {
    const std::string what = error.what();
    for (const std::string found : {"found x", "found often", "found -1"}) {
      EXPECT_NE(what.find(found), std::string::npos) << what;
    }
  }
}

TEST(PlanFile, ThatIsNoYamlIsRefused) {
  std::string text = Example().text;
  text.replace(text.find("ranks: [0, 1]"), 13, "ranks: [0, 1");
  EXPECT_THROW(static_cast<void>(parse_plan(text, "plan.yaml")), UserError);
}

TEST(PlanFile, WhatIsNoMappingIsRefused) {
  for (const std::string text : {"", "plan", "[1, 2]", "# nothing\n"}) {
    EXPECT_THROW(static_cast<void>(parse_plan(text, "plan.yaml")), UserError) << text;
  }
}

}  // namespace
}  // namespace alpa
