#include "alpa/intra_op/folding.hpp"

#include <array>
#include <set>

#include <gtest/gtest.h>

#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/inter_op/plan_models.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/program/verify.hpp"

#include "border_traffic.hpp"
#include "inter_op/search_models.hpp"
#include "kernel_bound.hpp"

/// What is found on the graph of some layers of a deep model is what is found on all of it.
namespace alpa {
namespace {

using search_tests::cluster;
using search_tests::deep;
using search_tests::request_of;

constexpr int kBatch = 8;

LayerLine line_of(const RunConfig& config) {
  const LayerLine folded = folded_line(layer_kinds(config.model));
  return checked_line(folded, build_graph(config, 2, kept_layers(folded)));
}

/// Requests with and without what folds.
SearchRequest request_for(const RunConfig& config, const ClusterSpec& spec, bool folds) {
  SearchRequest request =
      request_of([&config](std::int64_t microbatch) { return build_graph(config, microbatch); },
                 spec, config.training.global_batch);
  if (!folds) return request;
  request.layer_kinds = layer_kinds(config.model);
  request.graph_of_layers = [&config](std::int64_t microbatch, const std::vector<int>& layers) {
    return build_graph(config, microbatch, layers);
  };
  return request;
}

TEST(Folding, LinesKeepBothEndsAndWholePeriods) {
  const LayerLine line = folded_line(layer_kinds(deep(Preset::moe, 101, kBatch).model));
  ASSERT_EQ(line.runs().size(), 1U);
  const LayerLine::Run& run = line.runs().front();
  EXPECT_EQ(run.period, 2);
  EXPECT_EQ((run.count - run.graph_count) % 2, 0);
  EXPECT_EQ(kept_layers(line).size(), static_cast<std::size_t>(run.graph_count));
  EXPECT_EQ(kept_layers(line).front(), 0);
  EXPECT_EQ(kept_layers(line).back(), 100);
  for (int l = 0; l < line.length(); ++l) {
    const int like = line.layer_of(line.like(l));
    EXPECT_EQ(like % 2, l % 2);
    EXPECT_EQ(line.like(like), line.like(l));
  }
  EXPECT_TRUE(folded_line({0, 0, 0, 0}).is_whole());
  EXPECT_TRUE(folded_line({}).is_whole());
}

TEST(Folding, WhatReachesBeyondTheNextLayerIsNotFolded) {
  const RunConfig config = deep(Preset::gpt, 20, kBatch);
  const LayerLine folded = folded_line(layer_kinds(config.model));
  Graph graph = build_graph(config, 2, kept_layers(folded));
  ASSERT_FALSE(checked_line(folded, graph).is_whole());
  // A layer in the middle reads what the one before the last one is given.
  const auto first_of = [&](int layer) {
    return std::find_if(graph.operators.begin(), graph.operators.end(), [&](const Operator& op) {
      return op.layer == layer && op.phase == Phase::forward;
    });
  };
  first_of(4)->operands = first_of(2)->operands;
  EXPECT_TRUE(checked_line(folded, graph).is_whole());
}

void expect_equal(const StageFigures& a, const StageFigures& b) {
  const auto same = [](Seconds x, Seconds y) { EXPECT_DOUBLE_EQ(x.value, y.value); };
  same(a.times.prepare, b.times.prepare);
  same(a.times.forward, b.times.forward);
  same(a.times.backward, b.times.backward);
  same(a.times.reduce, b.times.reduce);
  same(a.times.update, b.times.update);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.stash, b.stash);
  EXPECT_EQ(a.transient, b.transient);
  EXPECT_EQ(a.reduced, b.reduced);
}

// Layers before any layer of a run computed again in one way, the others in another.
TEST(Folding, PartsComputedAgainInTwoWaysTakeWhatTheyTakeOnTheWholeGraph) {
  for (const Preset preset : {Preset::gpt, Preset::moe}) {
    const RunConfig config = deep(preset, preset == Preset::moe ? 46 : 30, kBatch);
    const LayerLine line = line_of(config);
    const Graph whole = build_graph(config, 2);
    const Graph some = build_graph(config, 2, kept_layers(folded_line(layer_kinds(config.model))));
    const MeshCosts costs(cluster(1, 4), {0, 1, 2, 3}, {{4}});
    const auto plain = index_of(some, line);
    const StageModel few(some, costs, 4, {}, plain);
    const int length = line.length();
    StageQuestion question{.first_layer = 0, .last_layer = length - 1};
    question.tied = question.one_layout = true;
    question.named = false;
    const auto fast = few.solve(question);
    question.weights.state_byte = question.weights.stash_byte = 1.0;
    const auto small = few.solve(question);
    ASSERT_TRUE(fast && small);
    for (const auto& [first, split, last] :
         std::vector<std::array<int, 3>>{{0, 1, length - 1},
                                         {0, 12, length - 1},
                                         {0, length - 1, length - 1},
                                         {3, 4, 4},
                                         {3, 6, 20},
                                         {5, 18, 19},
                                         {6, 15, length - 1}}) {
      SCOPED_TRACE(std::to_string(first) + " to " + std::to_string(split) + " to " +
                   std::to_string(last));
      const std::vector<ChosenLayers> parts{
          {0, split - 1, fast->parts.front().as, Recompute::none},
          {split, length - 1, small->parts.front().as, Recompute::full}};
      const auto figures_on = [&](const Graph& graph, const StageModel& model,
                                  const intra_op::GraphIndex& alike) {
        std::vector<Recompute> of_layer(static_cast<std::size_t>(graph.num_layers),
                                        Recompute::full);
        std::fill(of_layer.begin(), of_layer.begin() + model.seen_split(first, last, split),
                  Recompute::none);
        const Graph mixed = with_recomputation(graph, of_layer);
        const StageModel mixed_model(mixed, costs, 4, {}, mixed_index_of(mixed, alike));
        return mixed_model.joined(first, last, parts, {}).figures;
      };
      const auto all_index = index_of(whole);
      const StageModel all(whole, costs, 4, {}, all_index);
      expect_equal(figures_on(whole, all, *all_index), figures_on(some, few, *plain));
    }
  }
}

// Runs of layers that begin and end anywhere, chosen as one and joined of two answers.
TEST(Folding, StagesAreChosenAsOnTheWholeGraph) {
  for (const Preset preset : {Preset::gpt, Preset::moe}) {
    const RunConfig config = deep(preset, preset == Preset::moe ? 46 : 30, kBatch);
    const LayerLine line = line_of(config);
    ASSERT_FALSE(line.is_whole());
    const Graph whole = build_graph(config, 2);
    const Graph some = build_graph(config, 2, kept_layers(folded_line(layer_kinds(config.model))));
    ASSERT_LT(some.operators.size(), whole.operators.size());
    const ClusterSpec spec = cluster(1, 4);
    const MeshCosts costs(spec, {0, 1, 2, 3}, {{4}});
    const StageModel all(whole, costs, 4, {});
    const StageModel few(some, costs, 4, {}, index_of(some, line));
    EXPECT_EQ(all.layer_classes().size(), few.layer_classes().size());
    const int length = line.length();
    for (const auto& [first, last] : std::vector<std::pair<int, int>>{{0, length - 1},
                                                                      {0, 2},
                                                                      {0, 17},
                                                                      {3, 3},
                                                                      {3, 4},
                                                                      {5, 28},
                                                                      {2, length - 1},
                                                                      {length - 3, length - 1},
                                                                      {8, 27}}) {
      SCOPED_TRACE(std::to_string(first) + " to " + std::to_string(last));
      StageQuestion question{.first_layer = first, .last_layer = last};
      question.weights.forward = question.weights.backward = 4;
      question.tied = question.one_layout = true;
      question.named = false;
      auto a = all.solve(question);
      auto b = few.solve(question);
      question.weights.state_byte = question.weights.stash_byte = 1.0;
      const auto small = few.solve(question);
      ASSERT_TRUE(a && b && small);
      expect_equal(a->figures, b->figures);
      ASSERT_EQ(a->by_layer.size(), b->by_layer.size());
      for (std::size_t l = 0; l < a->by_layer.size(); ++l) {
        expect_equal(a->by_layer[l], b->by_layer[l]);
      }
      all.name(*a, whole);
      few.name(*b, whole);
      EXPECT_EQ(a->strategies, b->strategies);
      EXPECT_EQ(a->retention, b->retention);
      for (int split = first + 1; split <= last; split += 1 + (last - first) / 7) {
        SCOPED_TRACE(split);
        StageAnswer both = few.joined(
            first, last,
            {{first, split - 1, b->parts.front().as}, {split, last, small->parts.front().as}}, {});
        few.name(both, whole);
        StagePlan stage;
        stage.mesh = costs.mesh();
        stage.strategies = both.strategies;
        stage.retention = both.retention;
        expect_equal(both.figures, all.evaluate(first, last, stage, {}).figures);
      }
    }
  }
}

TEST(Folding, BoundsAndBordersAreThoseOfTheWholeGraph) {
  const RunConfig config = deep(Preset::moe, 46, kBatch);
  const LayerLine line = line_of(config);
  const Graph whole = build_graph(config, 2);
  const Graph some = build_graph(config, 2, kept_layers(folded_line(layer_kinds(config.model))));
  const ClusterSpec spec = cluster(1, 4);
  EXPECT_EQ(KernelBound(whole, spec, 4).step(2), KernelBound(some, line, spec, 4).step(2));
  const BorderTraffic a = border_traffic(whole, LayerLine(46));
  const BorderTraffic b = border_traffic(some, line);
  EXPECT_EQ(a.forward, b.forward);
  EXPECT_EQ(a.backward, b.backward);
  const auto summary = [](const Graph& graph, const std::vector<CrossTensor>& cross) {
    std::multiset<std::vector<int>> all;
    for (const CrossTensor& tensor : cross) {
      const Tensor& of = graph.tensor(tensor.tensor);
      std::vector<int> key{tensor.layer, static_cast<int>(of.role), static_cast<int>(of.dtype)};
      for (const auto& reader : tensor.readers) key.push_back(reader.layer);
      key.insert(key.end(), tensor.backward_layers.begin(), tensor.backward_layers.end());
      all.insert(key);
    }
    return all;
  };
  EXPECT_EQ(summary(whole, cross_tensors(whole)), summary(some, cross_tensors(some, line)));
}

TEST(Folding, PlansByHandTakeWhatTheyTakeOnTheWholeGraph) {
  for (const Preset preset : {Preset::gpt, Preset::moe}) {
    const RunConfig config = deep(preset, preset == Preset::moe ? 46 : 30, kBatch);
    const LayerLine line = line_of(config);
    const std::vector<int> kept = kept_layers(folded_line(layer_kinds(config.model)));
    const ClusterSpec spec = cluster(2, 2);
    PlanModels all(spec), few(spec, line);
    for (const Method method :
         {Method::data, Method::zero3, Method::intra_only, Method::inter_only, Method::pipedream}) {
      SCOPED_TRACE(name_of(method));
      MethodRequest request;
      request.parallel.method = method;
      request.world_size = 4;
      request.global_batch = config.training.global_batch;
      const auto whole = [&](std::int64_t microbatch) { return build_graph(config, microbatch); };
      const auto some = [&](std::int64_t microbatch) {
        return build_graph(config, microbatch, kept);
      };
      const Plan a = plan_by_method(request, whole);
      request.line = line;
      const Plan b = plan_by_method(request, some);
      ASSERT_EQ(a.num_microbatches, b.num_microbatches);
      const std::int64_t microbatch = request.global_batch / a.num_microbatches;
      const ModelledPlan x = all.of(whole(microbatch), a);
      const ModelledPlan y = few.of(some(microbatch), b);
      ASSERT_TRUE(y.known);
      EXPECT_NEAR(x.step_time.value, y.step_time.value, 1e-12 * x.step_time.value);
      EXPECT_EQ(x.memory, y.memory);
    }
  }
}

TEST(Folding, SearchFindsThePlanOfTheWholeGraph) {
  for (const Preset preset : {Preset::gpt, Preset::moe}) {
    const RunConfig config = deep(preset, preset == Preset::moe ? 28 : 16, kBatch);
    const ClusterSpec spec = cluster(1, 2);
    const SearchRequest whole = request_for(config, spec, false);
    const SearchRequest folding = request_for(config, spec, true);
    const SearchResult a = search(whole);
    const SearchResult b = search(folding);
    ASSERT_TRUE(a.plan && b.plan);
    EXPECT_EQ(*a.plan, *b.plan);
    EXPECT_DOUBLE_EQ(a.price.step_time.value, b.price.step_time.value);
    EXPECT_DOUBLE_EQ(a.lower_bound, b.lower_bound);
    EXPECT_EQ(a.ilp_problems, b.ilp_problems);
  }
}

// The plan of a deep model holds every operator: its programs go together, its price is theirs.
TEST(Folding, PlansOfDeepModelsAreWhole) {
  const RunConfig config = deep(Preset::gpt, 40, kBatch);
  const SearchRequest request = request_for(config, cluster(1, 2), true);
  const SearchResult result = search(request);
  ASSERT_TRUE(result.plan);
  const Graph graph = with_recomputation(
      build_graph(config, config.training.global_batch / result.plan->num_microbatches),
      result.plan->recompute);
  validate(*result.plan, graph);
  const PlanPrice truth = price(graph, *result.plan, request.cluster, no_workspace);
  const double step = truth.step_time.value;
  EXPECT_NEAR(step, result.price.step_time.value, 1e-12 * step);
  std::vector<Program> programs;
  for (int rank = 0; rank < result.plan->world_size; ++rank) {
    programs.push_back(lower(graph, *result.plan, rank, no_workspace).step);
  }
  EXPECT_EQ(verify(programs), std::vector<std::string>{});
}

}  // namespace
}  // namespace alpa
