#include <limits>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "alpa/plan/plan_file.hpp"

#include "inter_op/search_models.hpp"

namespace alpa::search_tests {
namespace {

struct Setting {
  std::string name;
  GraphOfMicrobatch graph;
  ClusterSpec spec;
};

std::vector<Setting> settings() {
  return {{"mlp on 2", mlp(4, 32), cluster(1, 2)},
          {"mlp on 2 x 2", mlp(4, 64), cluster(2, 2, 1e7)},
          {"transformer on 2", transformer(2, 32), cluster(1, 2)}};
}

TEST(Search, IsNeverDearerThanAPlanByHand) {
  for (const Setting& setting : settings()) {
    SCOPED_TRACE(setting.name);
    SearchRequest request = request_of(setting.graph, setting.spec, 16);
    const SearchResult found = search(request);
    ASSERT_TRUE(found.plan.has_value());
    EXPECT_EQ(found.stopped, "done");
    EXPECT_EQ(found.plan->method, "auto");
    const PlanPrice again = price_of(request, *found.plan);
    EXPECT_EQ(again.step_time, found.price.step_time);
    EXPECT_LE(found.lower_bound, found.price.step_time.value);
    const std::vector<Plan> by_hand = methods(request);
    ASSERT_GE(by_hand.size(), 7U);
    for (const Plan& plan : by_hand) {
      const double price = price_of(request, plan).step_time.value;
      EXPECT_LE(found.price.step_time.value, price * (1 + 1e-9)) << plan.method;
      EXPECT_LE(found.lower_bound, price) << plan.method;
    }
  }
}

TEST(Search, FitsWhereDataParallelismDoesNot) {
  SearchRequest request = request_of(mlp(4, 128), cluster(1, 2), 8);
  const SearchResult free = search(request);
  ASSERT_TRUE(free.plan.has_value());
  const std::vector<Plan> by_hand = methods(request);
  const Bytes data = largest(price_of(request, by_hand.front()));
  for (const int tenths : {9, 8, 7}) {
    request.memory_limit = Bytes{data.value * tenths / 10};
    const SearchResult found = search(request);
    ASSERT_TRUE(found.plan.has_value()) << tenths;
    EXPECT_LE(largest(found.price), *request.memory_limit);
    EXPECT_GE(found.price.step_time.value, free.price.step_time.value * (1 - 1e-9));
    for (const Plan& plan : by_hand) {
      const PlanPrice priced = price_of(request, plan);
      if (largest(priced) > *request.memory_limit) continue;
      EXPECT_LE(found.price.step_time.value, priced.step_time.value * (1 + 1e-9)) << plan.method;
    }
  }
}

TEST(Search, SaysHowMuchMemoryItWouldTake) {
  SearchRequest request = request_of(mlp(4, 32), cluster(1, 2), 8);
  request.memory_limit = Bytes{1000};
  const SearchResult found = search(request);
  EXPECT_FALSE(found.plan.has_value());
  ASSERT_TRUE(found.least_memory.has_value());
  ASSERT_TRUE(found.least_memory_plan.has_value());
  EXPECT_EQ(largest(price_of(request, *found.least_memory_plan)), *found.least_memory);
  for (const Plan& plan : methods(request)) {
    EXPECT_LE(*found.least_memory, largest(price_of(request, plan))) << plan.method;
  }
  request.memory_limit = found.least_memory;
  EXPECT_TRUE(search(request).plan.has_value());
}

TEST(Search, RecomputesWhatItIsToldTo) {
  SearchRequest request = request_of(transformer(2, 32), cluster(1, 2), 16);
  for (const Recompute recompute : {Recompute::attention, Recompute::full}) {
    request.recompute = recompute;
    const SearchResult found = search(request);
    ASSERT_TRUE(found.plan.has_value());
    EXPECT_EQ(found.plan->recompute, std::vector<Recompute>(2, recompute));
    EXPECT_EQ(price_of(request, *found.plan).step_time, found.price.step_time);
    EXPECT_LE(found.lower_bound, found.price.step_time.value);
    const std::vector<Plan> by_hand = methods(request);
    ASSERT_GE(by_hand.size(), 7U);
    for (const Plan& plan : by_hand) {
      EXPECT_EQ(plan.recompute, found.plan->recompute);
      const double price = price_of(request, plan).step_time.value;
      EXPECT_LE(found.price.step_time.value, price * (1 + 1e-9)) << plan.method;
      EXPECT_LE(found.lower_bound, price) << plan.method;
    }
  }
  request.recompute = Recompute::attention;
  request.graph = mlp(4, 32);
  EXPECT_THROW((void)search(request), PlanError);
}

TEST(Search, RecomputesWhereNothingElseFits) {
  SearchRequest request = request_of(transformer(3, 32), cluster(1, 2), 16);
  request.constraints.microbatches = 1;
  const auto least = [&](Recompute recompute) {
    request.recompute = recompute;
    request.memory_limit = Bytes{1000};
    return search(request).least_memory.value();
  };
  const Bytes kept = least(Recompute::none);
  const Bytes again = least(Recompute::full);
  ASSERT_LT(again.value, kept.value * 9 / 10);
  request.recompute = {};
  request.memory_limit = Bytes{(kept.value + again.value) / 2};
  const SearchResult found = search(request);
  ASSERT_TRUE(found.plan.has_value());
  EXPECT_EQ(found.plan->recompute, std::vector<Recompute>(3, Recompute::full));
  EXPECT_LE(largest(found.price), *request.memory_limit);
  EXPECT_LE(found.lower_bound, found.price.step_time.value);
  request.memory_limit = {};
  EXPECT_TRUE(search(request).plan.value().recompute.empty());
}

// With room for more than everything computed again, and for less than nothing: some layers are, in
// small models, whose stages choose by integer programs, and in deep ones, which follow tables.
TEST(Search, ComputesNoMoreLayersAgainThanMemoryNeeds) {
  for (const int layers : {4, 12}) {
    SCOPED_TRACE(layers);
    SearchRequest request = request_of(transformer(layers, 32), cluster(1, 2), 16);
    request.constraints.microbatches = 1;
    request.constraints.stages = 1;
    const auto with = [&](std::optional<Recompute> recompute) {
      request.recompute = recompute;
      return search(request);
    };
    const Bytes kept = largest(with(Recompute::none).price);
    const Bytes again = largest(with(Recompute::full).price);
    ASSERT_LT(again.value, kept.value * 8 / 10);
    int mixed = 0;
    double before = std::numeric_limits<double>::infinity();
    for (const int quarter : {1, 2, 3}) {
      request.memory_limit = Bytes{(kept.value * quarter + again.value * (4 - quarter)) / 4};
      const SearchResult found = with(std::nullopt);
      ASSERT_TRUE(found.plan.has_value());
      EXPECT_LE(largest(found.price), *request.memory_limit);
      EXPECT_LE(found.lower_bound, found.price.step_time.value);
      EXPECT_EQ(price_of(request, *found.plan).step_time, found.price.step_time);
      EXPECT_LE(found.price.step_time.value, before * (1 + 1e-9));
      before = found.price.step_time.value;
      const std::set<Recompute> kinds(found.plan->recompute.begin(), found.plan->recompute.end());
      mixed += kinds.size() > 1 ? 1 : 0;
      for (const Recompute recompute : {Recompute::none, Recompute::attention, Recompute::full}) {
        const SearchResult alike = with(recompute);
        if (!alike.plan) continue;
        EXPECT_LE(found.price.step_time.value, alike.price.step_time.value * (1 + 1e-9));
      }
      request.memory_limit.reset();
    }
    EXPECT_GE(mixed, 2);
  }
}

// One device that takes long to begin: half the memory by two microbatches is dearer than by
// computing again.
TEST(Search, RecomputesWhereThatIsFasterThanWhatFitsWithout) {
  ClusterSpec slow = cluster(1, 1);
  slow.kinds.front().launch = {1e-3};
  SearchRequest request = request_of(transformer(3, 32), slow, 16);
  const SearchResult free = search(request);
  ASSERT_TRUE(free.plan.has_value());
  EXPECT_TRUE(free.plan->recompute.empty());
  EXPECT_EQ(free.plan->num_microbatches, 1);
  request.memory_limit = largest(free.price) - Bytes{1};
  const SearchResult found = search(request);
  request.recompute = Recompute::none;
  const SearchResult kept = search(request);
  ASSERT_TRUE(found.plan && kept.plan);
  EXPECT_EQ(kept.plan->num_microbatches, 2);
  EXPECT_FALSE(found.plan->recompute.empty());
  EXPECT_EQ(found.plan->num_microbatches, 1);
  EXPECT_LT(found.price.step_time.value, 0.9 * kept.price.step_time.value);
  EXPECT_LE(found.lower_bound, found.price.step_time.value);
  for (const Recompute recompute : {Recompute::attention, Recompute::full}) {
    request.recompute = recompute;
    const SearchResult alone = search(request);
    if (!alone.plan) continue;
    EXPECT_LE(found.price.step_time.value, alone.price.step_time.value * (1 + 1e-9));
  }
}

TEST(Search, SlowLinksBetweenHostsMakeAPipeline) {
  for (const auto& graph : {mlp(4, 64), transformer(2, 32)}) {
    ClusterSpec spec = cluster(2, 1, 1e5);
    spec.kinds.front().peak_flops = {{DType::f32, 1e7}, {DType::f64, 1e7}};
    const SearchResult slow = search(request_of(graph, spec, 16));
    ASSERT_TRUE(slow.plan.has_value());
    EXPECT_GE(slow.plan->stages.size(), 2U);
  }
}

TEST(Search, KeepsToItsConstraints) {
  SearchRequest request = request_of(mlp(4, 32), cluster(1, 4), 8);
  request.constraints.stages = 2;
  request.constraints.microbatches = 4;
  request.constraints.schedule = PipelineKind::gpipe;
  request.constraints.logical_mesh = std::vector<int>{2};
  SearchResult found = search(request);
  ASSERT_TRUE(found.plan.has_value());
  EXPECT_EQ(found.plan->stages.size(), 2U);
  EXPECT_EQ(found.plan->num_microbatches, 4);
  EXPECT_EQ(found.plan->schedule, PipelineKind::gpipe);
  for (const StagePlan& stage : found.plan->stages) EXPECT_EQ(stage.mesh.extents, std::vector{2});

  request.constraints = {};
  request.constraints.logical_mesh = std::vector<int>{2, 2};
  found = search(request);
  ASSERT_TRUE(found.plan.has_value());
  EXPECT_EQ(found.plan->stages.front().mesh, (DeviceMesh{{2, 2}}));

  // Layouts: one operator is not split.
  request.constraints = {};
  const Graph graph = request.graph(request.global_batch);
  const std::string fixed = graph.operators.front().name;
  request.constraints.stage.strategies =
      [&](const Operator& op, const DeviceMesh&) -> std::optional<std::vector<Strategy>> {
    if (op.name != fixed) return std::nullopt;
    return std::vector<Strategy>{Strategy{}};
  };
  request.seeds = methods(request);  // data parallelism breaks the constraint
  found = search(request);
  ASSERT_TRUE(found.plan.has_value());
  const int stage = stage_of_layer(*found.plan, graph.operators.front().layer);
  EXPECT_EQ(found.plan->stages[static_cast<std::size_t>(stage)].strategies.at(fixed), Strategy{});
}

TEST(Search, RefusesConstraintsThatContradict) {
  const SearchRequest plain = request_of(mlp(3, 16), cluster(2, 2), 8);
  const auto message_of = [&](auto change) -> std::string {
    SearchRequest request = plain;
    change(request.constraints);
    try {
      (void)search(request);
    } catch (const PlanError& error) {
      EXPECT_EQ(error.code(), ExitCode::configuration);
      return error.what();
    }
    return "nothing";
  };
  const auto expect = [&](auto change, const std::string& part) {
    EXPECT_NE(message_of(change).find(part), std::string::npos) << message_of(change);
  };
  expect([](auto& c) { c.microbatches = 3; }, "divisor of training.global_batch = 8");
  expect([](auto& c) { c.stages = 4; }, "the model has 3 layers");
  expect([](auto& c) { c.stages = 0; }, "at least 1");
  expect([](auto& c) { c.logical_mesh = {8}; }, "the cluster has 4");
  expect([](auto& c) { c.logical_mesh = {3}; }, "inside a host or takes whole hosts");
  expect([](auto& c) { c.logical_mesh = {1, 0}; }, "at least 1");
  expect(
      [](auto& c) {
        c.logical_mesh = {2};
        c.stages = 3;
      },
      "room for 2 such meshes");
  const Plan plan = methods(plain).front();
  expect(
      [&](auto& c) {
        c.plan = plan;
        c.stages = 2;
      },
      "the plan has 1");
}

TEST(Search, ConstraintsOfAPlanLeaveThatPlan) {
  for (const Setting& setting : settings()) {
    SearchRequest request = request_of(setting.graph, setting.spec, 16);
    for (Plan plan : methods(request)) {
      SCOPED_TRACE(setting.name + " " + plan.method);
      request.constraints = constraints_of(plan);
      const SearchResult found = search(request);
      ASSERT_TRUE(found.plan.has_value());
      const Seconds price = price_of(request, plan).step_time;
      plan.method = "auto";
      EXPECT_EQ(*found.plan, plan);
      EXPECT_EQ(found.price.step_time, price);
      EXPECT_EQ(found.lower_bound, price.value);
    }
  }
}

// What stages take by the model is what they take in the lowered program, for plans by hand.
TEST(Search, ModelAndProgramAgree) {
  for (const Setting& setting : settings()) {
    const SearchRequest request = request_of(setting.graph, setting.spec, 16);
    for (const Plan& plan : methods(request)) {
      SCOPED_TRACE(setting.name + " " + plan.method);
      const Graph graph = request.graph(request.global_batch / plan.num_microbatches);
      const PlanPrice priced = price_of(request, plan);
      for (std::size_t s = 0; s < plan.stages.size(); ++s) {
        const StagePlan& stage = plan.stages[s];
        const MeshCosts costs(request.cluster, stage.ranks, stage.mesh);
        const StageModel model(graph, costs, plan.num_microbatches, {});
        const StageAnswer answer =
            model.evaluate(stage.chunks.front().first, stage.chunks.front().second, stage, {});
        const StageTimes& by_model = answer.figures.times;
        const StageTimes& by_program = priced.stages[s];
        for (const auto part : {&StageTimes::prepare, &StageTimes::forward, &StageTimes::backward,
                                &StageTimes::reduce, &StageTimes::update}) {
          const double program = (by_program.*part).value;
          EXPECT_LE((by_model.*part).value, program * (1 + 1e-9));
          EXPECT_GE((by_model.*part).value, program * (1 - 1e-9));
        }
        const int stashes = plan.schedule == PipelineKind::gpipe
                                ? plan.num_microbatches
                                : std::min(plan.warm_up[s], plan.num_microbatches);
        const Bytes memory =
            answer.figures.state + answer.figures.stash * stashes + answer.figures.transient;
        EXPECT_LE(memory, priced.arenas[s]);
      }
    }
  }
}

TEST(Search, GivesTheSamePlanTwice) {
  for (const Setting& setting : settings()) {
    const SearchRequest request = request_of(setting.graph, setting.spec, 16);
    const SearchResult first = search(request);
    const SearchResult second = search(request);
    ASSERT_TRUE(first.plan && second.plan) << setting.name;
    const Graph graph = request.graph(request.global_batch / first.plan->num_microbatches);
    EXPECT_EQ(to_yaml(*first.plan, graph), to_yaml(*second.plan, graph)) << setting.name;
    EXPECT_EQ(first.lower_bound, second.lower_bound);
    EXPECT_EQ(first.ilp_problems, second.ilp_problems);
  }
}

TEST(Search, StopsWithTheSeedsAtTheLeast) {
  SearchRequest request = request_of(transformer(2, 32), cluster(1, 2), 16);
  request.seeds = methods(request);
  double best_seed = 1e300;
  for (const Plan& seed : request.seeds) {
    best_seed = std::min(best_seed, price_of(request, seed).step_time.value);
  }
  std::stop_source source;
  source.request_stop();
  request.stop = source.get_token();
  SearchResult found = search(request);
  ASSERT_TRUE(found.plan.has_value());
  EXPECT_EQ(found.stopped, "time");
  EXPECT_EQ(found.price.step_time.value, best_seed);
  EXPECT_LE(found.lower_bound, best_seed);

  request.stop = {};
  request.effort = 10;
  found = search(request);
  ASSERT_TRUE(found.plan.has_value());
  EXPECT_EQ(found.stopped, "work");
  EXPECT_LE(found.price.step_time.value, best_seed);
}

/// A random valid plan: meshes, strategies and retention as they come.
Plan random_plan(const SearchRequest& request, std::mt19937_64& random) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  Plan plan;
  plan.method = "random";
  plan.world_size = num_devices(request.cluster);
  do {
    plan.num_microbatches = 1 + below(static_cast<int>(request.global_batch));
  } while (request.global_batch % plan.num_microbatches != 0);
  const Graph graph = request.graph(request.global_batch / plan.num_microbatches);
  const int stages = 1 + below(std::min(graph.num_layers, plan.world_size));
  for (int s = 0; s < stages; ++s) {
    StagePlan stage;
    stage.chunks = {{graph.num_layers * s / stages, graph.num_layers * (s + 1) / stages - 1}};
    for (int d = plan.world_size * s / stages; d < plan.world_size * (s + 1) / stages; ++d) {
      stage.ranks.push_back(d);
    }
    stage.mesh = {{static_cast<int>(stage.ranks.size())}};
    for (const Operator& op : graph.operators) {
      if (op.layer < stage.chunks[0].first || op.layer > stage.chunks[0].second) continue;
      // Towards splits, so that prices come near the bound.
      const auto all = all_strategies(op.rule, stage.mesh);
      stage.strategies[op.name] =
          all[all.size() > 1 && random() % 8 != 0 ? 1 + random() % (all.size() - 1) : 0];
      for (const TensorId t : op.results) {
        const Role role = graph.tensor(t).role;
        const bool state = role == Role::parameter || role == Role::optimizer_state;
        if (state) stage.strategies[op.name] = {};
      }
    }
    plan.stages.push_back(std::move(stage));
  }
  plan.schedule = random() % 2 == 0 ? PipelineKind::gpipe : PipelineKind::one_f_one_b;
  return plan;
}

TEST(Search, NoPlanIsBelowTheLowerBound) {
  std::mt19937_64 random(7);
  for (const Setting& setting : settings()) {
    const SearchRequest request = request_of(setting.graph, setting.spec, 16);
    const SearchResult found = search(request);
    EXPECT_GT(found.lower_bound, 0.0);
    for (int i = 0; i < 100; ++i) {
      const Plan plan = random_plan(request, random);
      EXPECT_LE(found.lower_bound, price_of(request, plan).step_time.value) << setting.name;
    }
  }
}

}  // namespace
}  // namespace alpa::search_tests
