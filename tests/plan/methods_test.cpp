#include "alpa/plan/methods.hpp"

#include <cstdlib>
#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "law/models.hpp"

namespace alpa {
namespace {

law::Case model(Preset preset = Preset::mlp) {
  return law::case_of({preset, OptimizerKind::adamw, Precision::fp32, 0.5});
}

struct Bad {
  std::string name;
  Method method;
  int ranks;
  std::function<void(ParallelConfig&)> set;
  ExitCode code;
  std::string message;
};

class BadMethod : public testing::TestWithParam<Bad> {};

TEST_P(BadMethod, SaysWhyAndWhatToDo) {
  const Bad& bad = GetParam();
  ParallelConfig parallel;
  bad.set(parallel);
  try {
    static_cast<void>(law::plan_of(model(), bad.method, bad.ranks, parallel));
    FAIL() << "accepted";
  } catch (const PlanError& error) {
    EXPECT_EQ(error.code(), bad.code) << error.what();
    EXPECT_NE(std::string(error.what()).find(bad.message), std::string::npos) << error.what();
  }
}

void nothing(ParallelConfig&) {}

// A model of 8 layers and a batch of 8 samples.
const std::vector<Bad> kBad = {
    {"too_few_layers", Method::inter_only, 9, nothing, ExitCode::no_plan,
     "9 stages need as many layers, the model has 8"},
    {"too_few_layers_pipedream", Method::pipedream, 12, nothing, ExitCode::no_plan,
     "12 stages need as many layers"},
    {"too_few_samples", Method::data, 16, nothing, ExitCode::no_plan,
     "a microbatch of 8 samples cannot be split over 16 ranks"},
    {"too_few_samples_a_microbatch", Method::zero3, 4,
     [](ParallelConfig& p) { p.microbatches = 4; }, ExitCode::no_plan,
     "a microbatch of 2 samples cannot be split over 4 ranks"},
    {"degrees", Method::megatron, 8, [](ParallelConfig& p) { p = law::degrees(2, 2, 1); },
     ExitCode::configuration, "data 2 x tensor 2 x pipeline 1 = 4 ranks, found 8"},
    {"degrees_without_data", Method::megatron, 8, [](ParallelConfig& p) { p.tensor = 3; },
     ExitCode::configuration, "= 6 ranks, found 8"},
    {"microbatches", Method::pipedream, 2, [](ParallelConfig& p) { p.microbatches = 3; },
     ExitCode::configuration, "parallel.microbatches: found 3, expected a divisor"},
    {"stages", Method::inter_only, 4, [](ParallelConfig& p) { p.stages = 2; },
     ExitCode::configuration, "parallel.stages: found 2, method inter_only makes 4"},
    {"mesh", Method::data, 4,
     [](ParallelConfig& p) { p.logical_mesh = std::vector<std::int64_t>{2, 2}; },
     ExitCode::configuration, "parallel.logical_mesh: method data makes [4]"},
    {"interleaved_without_a_pipeline", Method::zero2, 2,
     [](ParallelConfig& p) { p.schedule = PipelineSchedule::interleaved; }, ExitCode::configuration,
     "interleaved needs at least 2 stages, method zero2 makes 1"},
    {"interleaved_megatron_without_a_pipeline", Method::megatron, 2,
     [](ParallelConfig& p) { p.schedule = PipelineSchedule::interleaved; }, ExitCode::configuration,
     "interleaved needs at least 2 stages, method megatron makes 1"},
    {"too_few_layers_for_chunks", Method::inter_only, 4,
     [](ParallelConfig& p) {
       p.schedule = PipelineSchedule::interleaved;
       p.chunks_per_stage = 3;
     },
     ExitCode::no_plan, "4 stages of 3 chunks need a layer each, the model has 8"},
    {"zero_bubble", Method::data, 2,
     [](ParallelConfig& p) { p.schedule = PipelineSchedule::zero_bubble; }, ExitCode::configuration,
     "zero_bubble needs at least 2 stages, method data makes 1"},
    {"warm_up_of_other_stages", Method::pipedream, 4,
     [](ParallelConfig& p) { p.warm_up = std::vector<std::int64_t>{3, 2, 1}; },
     ExitCode::configuration, "parallel.warm_up: found [3, 2, 1], expected a depth for each of 4"},
    {"warm_up_too_shallow", Method::pipedream, 4,
     [](ParallelConfig& p) { p.warm_up = std::vector<std::int64_t>{4, 2, 2, 1}; },
     ExitCode::configuration, "parallel.warm_up[1]: found 2, expected at least 3"},
    {"warm_up_grows", Method::pipedream, 4,
     [](ParallelConfig& p) { p.warm_up = std::vector<std::int64_t>{4, 5, 2, 1}; },
     ExitCode::configuration, "no more than the stage before"},
    {"layout_of_nothing", Method::data, 2,
     [](ParallelConfig& p) { p.layouts = {{"nothing.*", "b@0"}}; }, ExitCode::configuration,
     "'nothing.*' matches no operator"},
    {"layout_of_almost", Method::data, 2,
     [](ParallelConfig& p) { p.layouts = {{"layers.*.liner", "b@0"}}; }, ExitCode::configuration,
     "did you mean layers.*.linear?"},
    {"layout_of_a_part", Method::data, 2, [](ParallelConfig& p) { p.layouts = {{"gelu", "b@0"}}; },
     ExitCode::configuration, "layers.*.gelu"},
    {"layout_of_an_axis", Method::data, 2,
     [](ParallelConfig& p) { p.layouts = {{"layers.1.linear", "b@2"}}; }, ExitCode::configuration,
     "the mesh has no axis 2"},
    {"layout_of_the_methods_mesh", Method::data, 2,
     [](ParallelConfig& p) { p.layouts = {{"layers.1.linear", "b@1"}}; }, ExitCode::configuration,
     "layers.1.linear cannot take b@1 with method data, whose mesh is 2 here: the mesh has no "
     "axis"},
    {"layout_text", Method::data, 2,
     [](ParallelConfig& p) { p.layouts = {{"layers.1.linear", "b0"}}; }, ExitCode::configuration,
     "'b0' is not of the form"},
    {"layout_of_another_rule", Method::data, 2,
     [](ParallelConfig& p) { p.layouts = {{"layers.1.linear", "z@0"}}; }, ExitCode::configuration,
     "layers.1.linear: strategy 'z@0': the operator has no factor 'z'; it can split b (8)"},
    {"plan_without_file", Method::plan, 2, nothing, ExitCode::configuration, "parallel.plan"},
};

INSTANTIATE_TEST_SUITE_P(All, BadMethod, testing::ValuesIn(kBad),
                         [](const auto& each) { return each.param.name; });

TEST(Methods, RecomputeAllLayersAlike) {
  ParallelConfig parallel;
  parallel.recompute = Recompute::attention;
  for (const Method method : {Method::data, Method::pipedream, Method::heuristic}) {
    const Plan plan = law::plan_of(model(Preset::gpt), method, 4, parallel);
    EXPECT_EQ(plan.recompute, std::vector<Recompute>(8, Recompute::attention));
    Plan kept = law::plan_of(model(Preset::gpt), method, 4);
    EXPECT_TRUE(kept.recompute.empty());
    kept.recompute = plan.recompute;
    EXPECT_EQ(kept, plan) << "the same choices otherwise";
  }
  try {
    static_cast<void>(law::plan_of(model(Preset::mlp), Method::data, 2, parallel));
    FAIL() << "accepted";
  } catch (const PlanError& error) {
    EXPECT_STREQ(error.what(),
                 "parallel.recompute: found attention, no layer of the model has any; expected "
                 "auto, none or full");
  }
}

TEST(Methods, ArrangeRanks) {
  const law::Case test = model(Preset::gpt);
  const auto stages = [&](Method method, int ranks, const ParallelConfig& parallel) {
    std::string text;
    for (const StagePlan& s : law::plan_of(test, method, ranks, parallel).stages) {
      text += std::to_string(s.chunks[0].first) + "-" + std::to_string(s.chunks[0].second) + ":";
      for (const int n : s.mesh.extents) text += " " + std::to_string(n);
      text += ";";
    }
    return text;
  };
  EXPECT_EQ(stages(Method::data, 4, {}), "0-7: 4;");
  EXPECT_EQ(stages(Method::intra_only, 8, {}), "0-7: 4 2;");
  EXPECT_EQ(stages(Method::intra_only, 4, {}), "0-7: 2 2;");
  EXPECT_EQ(stages(Method::intra_only, 3, {}), "0-7: 3;");
  EXPECT_EQ(stages(Method::pipedream, 4, {}), "0-1: 1;2-3: 1;4-5: 1;6-7: 1;");
  EXPECT_EQ(stages(Method::megatron, 8, law::degrees(2, 2, 2)), "0-3: 2 2;4-7: 2 2;");
  EXPECT_EQ(stages(Method::megatron, 4, {}), "0-7: 4;");
}

/// Prices that are least for 2 x 2 x 2 in 4 microbatches; all arrangements that were priced.
struct Priced {
  std::set<std::string> seen;
  Plan best;
  explicit Priced(const ParallelConfig& parallel, double least_time = 0.0) {
    const law::Case test = model(Preset::gpt);
    MethodRequest request{parallel, 8, test.global_batch};
    request.parallel.method = Method::megatron;
    request.price = [&](const Graph& graph, const Plan& plan) {
      EXPECT_EQ(plan.graph_fingerprint, fingerprint(graph));
      const auto stages = static_cast<int>(plan.stages.size());
      const int tensor = plan.stages[0].mesh.extents.back();
      seen.insert(std::to_string(stages) + " " + std::to_string(tensor) + " " +
                  std::to_string(plan.num_microbatches));
      const int distance = std::abs(stages - 2) + std::abs(tensor - 2) +
                           std::abs(plan.num_microbatches - 4) +
                           std::abs(static_cast<int>(plan.stages[0].mesh.extents.size()) - 2);
      return MethodPrice{{distance < 1 ? 0 : 1}, {10.0 + distance}};
    };
    request.least_time = [=](Flops) { return Seconds{least_time}; };
    best = plan_by_method(request, test.make_graph);
  }
};

TEST(Methods, MegatronTakesTheDegreesOfLeastPrice) {
  const Priced free({});
  EXPECT_EQ(free.best.stages.size(), 2U);
  EXPECT_EQ(free.best.stages[0].mesh.extents, (std::vector<int>{2, 2}));
  EXPECT_EQ(free.best.num_microbatches, 4);
  EXPECT_GT(free.seen.size(), 10U);
  const Priced given(law::degrees(4, 2, 1));
  EXPECT_EQ(given.best.stages[0].mesh.extents, (std::vector<int>{4, 2}));
  ParallelConfig microbatches;
  microbatches.microbatches = 8;
  EXPECT_EQ(Priced(microbatches).best.num_microbatches, 8);
  ParallelConfig three;
  three.tensor = 3;
  EXPECT_THROW(Priced{three}, PlanError);
}

// What its FLOPs alone make slower than the best is not priced.
TEST(Methods, MegatronPassesOverWhatCannotBeBetter) {
  const Priced all({});
  const Priced few({}, 9.0);
  EXPECT_EQ(few.best, all.best);
  EXPECT_LT(few.seen.size(), all.seen.size());
}

TEST(Methods, ChooseMicrobatches) {
  const law::Case test = model();
  EXPECT_EQ(law::plan_of(test, Method::data, 4).num_microbatches, 1);
  EXPECT_EQ(law::plan_of(test, Method::inter_only, 2).num_microbatches, 8);
}

TEST(Methods, WarmUpIsAsDeepAsAskedFor) {
  const law::Case test = model();
  ParallelConfig parallel;
  parallel.microbatches = 8;
  EXPECT_EQ(law::plan_of(test, Method::pipedream, 4, parallel).warm_up, (std::vector{4, 3, 2, 1}));
  parallel.warm_up = MostDepth{};
  EXPECT_EQ(law::plan_of(test, Method::pipedream, 4, parallel).warm_up, (std::vector{7, 5, 3, 1}));
  parallel.warm_up = std::vector<std::int64_t>{6, 3, 3, 1};
  EXPECT_EQ(law::plan_of(test, Method::pipedream, 4, parallel).warm_up, (std::vector{6, 3, 3, 1}));
  parallel.microbatches = 1;  // only 1F1B has a depth
  EXPECT_EQ(law::plan_of(test, Method::pipedream, 4, parallel).schedule, PipelineKind::one_f_one_b);
}

// GPipe keeps every microbatch's activations until the last one is done, for nothing.
TEST(Methods, SeveralMicrobatchesFollowOneAnother) {
  const law::Case test = model();
  for (const Method method :
       {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::megatron,
        Method::intra_only, Method::inter_only, Method::pipedream, Method::heuristic}) {
    ParallelConfig parallel;
    for (const std::int64_t count : {1, 4}) {
      parallel.microbatches = count;
      const Plan plan = law::plan_of(test, method, 2, parallel);
      EXPECT_EQ(plan.schedule, count == 1 ? PipelineKind::gpipe : PipelineKind::one_f_one_b)
          << name_of(method);
    }
    parallel.schedule = PipelineSchedule::gpipe;
    EXPECT_EQ(law::plan_of(test, method, 2, parallel).schedule, PipelineKind::gpipe)
        << name_of(method);
  }
}

/// The number of microbatches of a method on 2 ranks, by prices that depend on it alone.
int microbatches_by(Method method, const std::function<MethodPrice(int)>& price) {
  const law::Case test = model();
  MethodRequest request{{}, 2, 32};
  request.parallel.method = method;
  request.price = [&](const Graph&, const Plan& plan) { return price(plan.num_microbatches); };
  return plan_by_method(request, test.make_graph).num_microbatches;
}

TEST(Methods, TakeTheFewestMicrobatchesThatFit) {
  for (int fewest = 1; fewest <= 16; fewest *= 2) {
    const auto price = [&](int count) {
      return MethodPrice{{std::max(0, fewest - count)}, {1.0 * count}};
    };
    EXPECT_EQ(microbatches_by(Method::data, price), fewest);
    EXPECT_EQ(microbatches_by(Method::pipedream, price), fewest);
  }
  const auto never = [](int count) { return MethodPrice{{100 - count}, {1.0}}; };
  EXPECT_EQ(microbatches_by(Method::data, never), 16) << "what needs least";
  EXPECT_EQ(microbatches_by(Method::pipedream, never), 32);
}

TEST(Methods, PipelinesTakeTheMicrobatchesOfLeastPrice) {
  for (int best = 1; best <= 32; best *= 2) {
    const auto price = [&](int count) {
      return MethodPrice{{0}, {1.0 * std::max(best, count) / std::min(best, count)}};
    };
    EXPECT_EQ(microbatches_by(Method::pipedream, price), best);
    EXPECT_EQ(microbatches_by(Method::zero1, price), 1) << "more only add launches";
  }
}

// inter_only: no cut of the layers has a smaller largest stage.
TEST(Methods, InterOnlyBalancesFlops) {
  const law::Case test = model(Preset::gpt);
  const Plan plan = law::plan_of(test, Method::inter_only, 2);
  const Graph graph = test.make_graph(1);
  const auto largest = [&](int cut) {
    double first = 0, rest = 0;
    for (const Operator& op : graph.operators) {
      (op.layer < cut ? first : rest) += flops_of(op).value;
    }
    return std::max(first, rest);
  };
  const int cut = plan.stages[1].chunks[0].first;
  for (int other = 1; other < graph.num_layers; ++other) {
    EXPECT_LE(largest(cut), largest(other)) << other;
  }
}

TEST(Methods, LayoutsReplaceStrategies) {
  ParallelConfig parallel;
  parallel.layouts = {{"layers.*.gelu", "replicated"}, {"layers.2.gelu", "f@0"}};
  const Plan plan = law::plan_of(model(), Method::data, 2, parallel);
  const auto& strategies = plan.stages[0].strategies;
  EXPECT_EQ(to_string(strategies.at("layers.1.gelu")), "replicated");
  EXPECT_EQ(to_string(strategies.at("layers.2.gelu")), "f@0");
  EXPECT_EQ(to_string(strategies.at("layers.2.linear")), "b@0");
}

// Every method that splits a parameter splits its optimizer state alike.
TEST(Methods, HeuristicSplitsTheLargestDimension) {
  const law::Case test = model(Preset::gpt);
  const Plan plan = law::plan_of(test, Method::heuristic, 4);
  const auto& strategies = plan.stages[0].strategies;
  EXPECT_EQ(to_string(strategies.at("embedding.weight.update")), "v@0");                 // [24, 8]
  EXPECT_EQ(to_string(strategies.at("layers.0.feed_forward.in.weight.update")), "f@0");  // [8, 16]
}

}  // namespace
}  // namespace alpa
