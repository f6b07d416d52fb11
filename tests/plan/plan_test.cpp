#include "alpa/plan/plan.hpp"

#include <functional>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "law/models.hpp"

namespace alpa {
namespace {

law::Case model() {
  return law::case_of({Preset::mlp, OptimizerKind::momentum, Precision::fp32, 0.5});
}

/// A valid plan of two stages of two ranks and 4 microbatches on a model of 8 layers, spoiled.
struct Bad {
  std::string name;
  std::function<void(Plan&)> spoil;
  std::string message;
};

class BadPlan : public testing::TestWithParam<Bad> {};

TEST_P(BadPlan, IsRefusedWithItsReason) {
  const law::Case test = model();
  ParallelConfig parallel = law::degrees(2, 1, 2);
  parallel.microbatches = 4;
  Plan plan = law::plan_of(test, Method::megatron, 4, parallel);
  const Graph graph = test.make_graph(2);
  validate(plan, graph);
  GetParam().spoil(plan);
  try {
    validate(plan, graph);
    FAIL() << "accepted";
  } catch (const PlanError& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos)
        << error.what();
  }
}

Strategy& strategy(Plan& plan, const std::string& op) {
  for (StagePlan& stage : plan.stages) {
    if (const auto it = stage.strategies.find(op); it != stage.strategies.end()) return it->second;
  }
  throw std::runtime_error("no operator " + op);
}

void interleave(Plan& plan, const std::vector<std::vector<std::pair<int, int>>>& chunks) {
  plan.schedule = PipelineKind::interleaved;
  plan.warm_up.clear();
  for (std::size_t s = 0; s < chunks.size(); ++s) plan.stages[s].chunks = chunks[s];
}

const std::vector<Bad> kBad = {
    {"no_stages", [](Plan& p) { p.stages.clear(); }, "it has no stages"},
    {"recompute", [](Plan& p) { p.recompute.assign(8, Recompute::full); },
     "recompute: layer 0: found full, the graph is made for none"},
    {"recompute_of_fewer_layers", [](Plan& p) { p.recompute.assign(7, Recompute::none); },
     "recompute: layer 7: found nothing, the graph is made for none"},
    {"two_chunks", [](Plan& p) { p.stages[0].chunks = {{0, 1}, {2, 3}}; },
     "stages[0].chunks: found 2, expected 1: schedule 1f1b holds one chunk a stage"},
    {"interleaved_one_chunk", [](Plan& p) { interleave(p, {{{0, 3}}, {{4, 7}}}); },
     "stages[0].chunks: found 1, expected at least 2"},
    {"interleaved_unlike",
     [](Plan& p) { interleave(p, {{{0, 1}, {4, 5}}, {{2, 3}, {6, 6}, {7, 7}}}); },
     "stages[1].chunks: found 3, expected 2 as on stages[0]"},
    {"interleaved_one_after_the_other",
     [](Plan& p) { interleave(p, {{{0, 1}, {2, 3}}, {{4, 5}, {6, 7}}}); },
     "stages[1].chunks: found layers 4 to 5, expected a run that starts at 2"},
    {"interleaved_too_short", [](Plan& p) { interleave(p, {{{0, 1}, {4, 5}}, {{2, 3}, {6, 6}}}); },
     "its stages hold layers 0 to 6, the model has 8"},
    {"interleaved_warm_up",
     [](Plan& p) {
       interleave(p, {{{0, 1}, {4, 5}}, {{2, 3}, {6, 7}}});
       p.warm_up = {2, 1};
     },
     "schedule.warm_up: that of interleaved follows from stages and chunks"},
    {"no_chunk", [](Plan& p) { p.stages[1].chunks.clear(); }, "stages[1].chunks: found 0"},
    {"gap", [](Plan& p) { p.stages[1].chunks = {{5, 7}}; },
     "stages[1].chunks: found layers 5 to 7, expected a run that starts at 4"},
    {"overlap", [](Plan& p) { p.stages[1].chunks = {{3, 7}}; }, "starts at 4"},
    {"backwards", [](Plan& p) { p.stages[0].chunks = {{0, -1}}; }, "found layers 0 to -1"},
    {"too_far", [](Plan& p) { p.stages[1].chunks = {{4, 8}}; }, "ends below 8"},
    {"too_short", [](Plan& p) { p.stages[1].chunks = {{4, 6}}; },
     "its stages hold layers 0 to 6, the model has 8"},
    {"too_few_ranks", [](Plan& p) { p.stages[0].ranks = {0}; }, "stages[0].ranks: found 1 ranks"},
    {"huge_mesh", [](Plan& p) { p.stages[0].mesh = {{1 << 24, 1 << 24, 1 << 24}}; },
     "stages[0].ranks: found 2 ranks"},
    {"descending_ranks", [](Plan& p) { p.stages[0].ranks = {1, 0}; }, "expected ascending"},
    {"rank_twice", [](Plan& p) { p.stages[1].ranks = {1, 2}; }, "rank 1 is used twice"},
    {"rank_outside", [](Plan& p) { p.stages[1].ranks = {2, 4}; }, "not below 4"},
    {"rank_negative", [](Plan& p) { p.stages[0].ranks = {-1, 0}; }, "rank -1"},
    {"no_strategy", [](Plan& p) { p.stages[0].strategies.erase("layers.1.linear"); },
     "stages[0]: operator layers.1.linear has no strategy"},
    {"unknown_factor", [](Plan& p) { strategy(p, "layers.1.linear") = {{{0, 'z', -1}}}; },
     "operator layers.1.linear: strategy 'z@0': the operator has no factor 'z'"},
    {"unknown_axis", [](Plan& p) { strategy(p, "layers.1.linear") = {{{3, 'b', -1}}}; },
     "the mesh has no axis 3"},
    {"too_many_pieces",
     [](Plan& p) {
       p.world_size = 8;
       p.stages[1].ranks = {4, 5, 6, 7};
       p.stages[1].mesh = {{4}};
       for (auto& [name, s] : p.stages[1].strategies) s = {};
       strategy(p, "layers.5.linear") = {{{0, 'b', -1}}};
     },
     "factor 'b' of size 2 cannot be split 4 ways"},
    {"state_as_partial_sum",
     [](Plan& p) { strategy(p, "layers.1.linear.weight.update") = {{{0, '\0', 0}}}; },
     "operator layers.1.linear.weight.update"},
    {"unknown_operator", [](Plan& p) { p.stages[0].strategies["layers.9.linear"] = {}; },
     "stages[0].operators: the model has no operator layers.9.linear"},
    {"unknown_tensor",
     [](Plan& p) { p.stages[0].retention["layers.0.linear.wieght"] = Retention::step; },
     "stages[0].retention: the model has no tensor layers.0.linear.wieght"},
    {"arrival_of_nothing",
     [](Plan& p) { p.stages[1].arrivals["nothing"] = parse_sharding_spec("[R]"); },
     "stages[1].arrivals: nothing: the model has no such tensor"},
    {"arrival_of_other_rank",
     [](Plan& p) { p.stages[1].arrivals["layers.3.dropout"] = parse_sharding_spec("[R]"); },
     "layout [R] does not fit shape [2,16]"},
    {"arrival_as_partial_sum",
     [](Plan& p) { p.stages[1].arrivals["layers.3.dropout"] = parse_sharding_spec("[R,R]+P0"); },
     "does not fit"},
    {"no_microbatches", [](Plan& p) { p.num_microbatches = 0; }, "microbatches: expected at least"},
    {"warm_up_of_one_stage", [](Plan& p) { p.warm_up = {2}; }, "one number for each of 2 stages"},
    {"warm_up_too_shallow", [](Plan& p) { p.warm_up = {1, 1}; },
     "schedule.warm_up[0]: found 1, expected at least 2"},
    {"warm_up_grows", [](Plan& p) { p.warm_up = {2, 3}; }, "no more than the stage before"},
};

INSTANTIATE_TEST_SUITE_P(All, BadPlan, testing::ValuesIn(kBad),
                         [](const auto& each) { return each.param.name; });

TEST(Plan, SeatsAndLayers) {
  const law::Case test = model();
  Plan plan = law::plan_of(test, Method::megatron, 4, law::degrees(2, 1, 2));
  plan.world_size = 5;
  EXPECT_EQ(seat_of(plan, 3).stage, 1);
  EXPECT_EQ(seat_of(plan, 3).index, 1);
  EXPECT_EQ(seat_of(plan, 4).stage, -1);
  EXPECT_EQ(stage_of_layer(plan, 3), 0);
  EXPECT_EQ(stage_of_layer(plan, 4), 1);
  EXPECT_THROW(static_cast<void>(stage_of_layer(plan, 8)), PlanError);
}

TEST(Plan, RetentionByDefault) {
  const Graph graph = model().make_graph(8);
  const StagePlan stage;
  EXPECT_EQ(retention_of(stage, graph.tensor(*graph.find_tensor("layers.0.linear.weight"))),
            Retention::step);
  EXPECT_EQ(retention_of(stage, graph.tensor(*graph.find_tensor("layers.0.linear"))),
            Retention::keep);
}

}  // namespace
}  // namespace alpa
