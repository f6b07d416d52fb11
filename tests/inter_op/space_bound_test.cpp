#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/simulate/price.hpp"

#include "intra_op/models.hpp"
#include "law/models.hpp"
#include "least_bytes.hpp"
#include "mesh_bounds.hpp"

/// What the bound of the space is made of.
namespace alpa {
namespace {

struct Choice {
  double seconds = 0.0, state = 0.0, stash = 0.0;
};

/// Nothing is known of the layers.
std::shared_ptr<const LayerFloors> no_floors(std::size_t layers, std::size_t ways = 1) {
  const std::vector<double> nothing(layers, 0.0);
  return std::make_shared<const LayerFloors>(LayerFloors{
      std::vector<std::vector<double>>(ways, std::vector<double>(layers + 1, 0.0)),
      std::make_shared<const LeastBytes>(nothing, std::vector<std::vector<double>>(ways, nothing),
                                         std::vector<std::vector<double>>(ways, nothing))});
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Layers that all have these choices.
MeshBounds::Solver solver_of(const std::vector<int>& classes, const std::vector<Choice>& choices) {
  return {classes, 1,
          [&choices](const StageWeights& w, int /*layer*/, std::size_t, BoundHints&) {
            double least = kInfinity;
            for (const Choice& c : choices) {
              least = std::min(
                  least, w.forward * c.seconds + w.state_byte * c.state + w.stash_byte * c.stash);
            }
            return least;
          },
          [](int /*layer*/, std::size_t /*way*/) { return true; }};
}

TEST(MeshBounds, PricesOfBytesProveMostOfWhatFits) {
  constexpr int kLayers = 40;
  constexpr int kMicrobatches = 4;
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  const std::vector<int> classes(kLayers, 0);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Choice> choices;
    for (int c = 0; c < 5; ++c) {
      choices.push_back(
          {1.0 + c + uniform(random), 40.0 / (1 + c) + uniform(random), 10.0 * uniform(random)});
    }
    const double stashes = trial % 2 == 0 ? 1.0 : 4.0;
    const double room = kLayers * (12.0 + 40.0 * uniform(random));
    MeshBounds bounds(kMicrobatches, 1, room, 1.0, no_floors(kLayers));
    const MeshBounds::Solver solver = solver_of(classes, choices);
    const BoundRun run{0, kLayers - 1, stashes};
    bounds.look(0, kLayers - 1, kInfinity, solver);
    const double without = bounds.step(run);
    (void)bounds.price_bytes(run, kInfinity, solver);
    // Two choices mixed over the layers: the best of those that fit, no less than the dual.
    double least = std::numeric_limits<double>::infinity();
    for (const Choice& a : choices) {
      for (const Choice& b : choices) {
        for (int n = 0; n <= kLayers; ++n) {
          const double m = kLayers - n;
          const double bytes =
              n * (a.state + stashes * a.stash) + m * (b.state + stashes * b.stash);
          if (bytes <= room) {
            least = std::min(least, kMicrobatches * (n * a.seconds + m * b.seconds));
          }
        }
      }
    }
    const double proved = bounds.step(run);
    EXPECT_GE(proved, without);
    EXPECT_LE(proved, least * (1.0 + 1e-12));
    if (least < std::numeric_limits<double>::infinity()) {
      EXPECT_GE(proved, 0.9 * least);
    }
  }
}

// Layers that may do in one of several ways prove no more than the mixes of ways that fit, and no
// less than what each way's choices prove together.
TEST(MeshBounds, EachLayerTakesItsOwnWay) {
  constexpr int kLayers = 12;
  std::mt19937_64 random(9);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  const std::vector<int> classes(kLayers, 0);
  int raised = 0;
  for (int trial = 0; trial < 100; ++trial) {
    // The first way takes least without bytes.
    const std::vector<Choice> ways{{1.0 + uniform(random), 4.0, 20.0 + 10.0 * uniform(random)},
                                   {2.0 + uniform(random), 4.0, 6.0 + 5.0 * uniform(random)},
                                   {3.0 + uniform(random), 4.0, 3.0 * uniform(random)}};
    int asked = 0;
    const MeshBounds::Solver each{
        classes, ways.size(),
        [&](const StageWeights& w, int /*layer*/, std::size_t way, BoundHints&) {
          ++asked;
          return w.forward * ways[way].seconds + w.state_byte * ways[way].state +
                 w.stash_byte * ways[way].stash;
        },
        [](int /*layer*/, std::size_t /*way*/) { return true; }};
    const MeshBounds::Solver together = solver_of(classes, ways);
    const BoundRun run{0, kLayers - 1, 2.0};
    const double room = kLayers * (8.0 + 40.0 * uniform(random));
    MeshBounds by_way(1, 1, room, 1.0, no_floors(kLayers, ways.size()));
    MeshBounds at_once(1, 1, room, 1.0, no_floors(kLayers));
    by_way.look(0, kLayers - 1, kInfinity, each);
    at_once.look(0, kLayers - 1, kInfinity, together);
    const double without = by_way.step(run);
    EXPECT_EQ(without, at_once.step(run));
    (void)by_way.price_bytes(run, kInfinity, each);
    (void)at_once.price_bytes(run, kInfinity, together);
    EXPECT_NEAR(by_way.step(run), at_once.step(run), 1e-9 * without);
    if (by_way.step(run) > without) ++raised;
    EXPECT_GT(asked, 0);
  }
  EXPECT_GT(raised, 30);
}

TEST(MeshBounds, MoreStashesProveNoLess) {
  const std::vector<int> classes(8, 0);
  const std::vector<Choice> choices{{1.0, 10.0, 5.0}, {2.0, 8.0, 1.0}};
  MeshBounds bounds(1, 1, 120.0, 1.0, no_floors(8));
  const MeshBounds::Solver solver = solver_of(classes, choices);
  bounds.look(0, 7, kInfinity, solver);
  ASSERT_TRUE(bounds.price_bytes({0, 7, 4.0}, 100.0, solver));
  EXPECT_FALSE(bounds.price_bytes({0, 7, 4.0}, 100.0, solver));  // tried before
  EXPECT_FALSE(bounds.refine({0, 7, 4.0}, 100.0, solver));       // is no closer
  EXPECT_GT(bounds.step({0, 7, 4.0}), bounds.step({0, 7, 1.0}));
  EXPECT_EQ(bounds.step({0, 7, 8.0}), bounds.step({0, 7, 4.0}));
}

// Between numbers of stashes that were priced both prove something: never more than what fits
// takes, and more than the smaller number alone.
TEST(MeshBounds, NumbersOfStashesBetweenThosePricedMixThem) {
  constexpr int kLayers = 40;
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  const std::vector<int> classes(kLayers, 0);
  int more = 0;
  for (int trial = 0; trial < 100; ++trial) {
    const std::vector<Choice> choices{{1.0 + uniform(random), 10.0, 8.0 + 4.0 * uniform(random)},
                                      {2.0 + uniform(random), 9.0, 4.0 * uniform(random)}};
    const double room = kLayers * (12.0 + 60.0 * uniform(random));
    const MeshBounds::Solver solver = solver_of(classes, choices);
    MeshBounds bounds(1, 1, room, 1.0, no_floors(kLayers));
    bounds.look(0, kLayers - 1, kInfinity, solver);
    (void)bounds.price_bytes({0, kLayers - 1, 4.0}, kInfinity, solver);
    const double of_four = bounds.step({0, kLayers - 1, 4.0});
    (void)bounds.price_bytes({0, kLayers - 1, 8.0}, kInfinity, solver);
    for (const double stashes : {5.0, 6.0, 7.0}) {
      double least = kInfinity;
      for (int n = 0; n <= kLayers; ++n) {
        const double m = kLayers - n;
        const double bytes = n * (choices[0].state + stashes * choices[0].stash) +
                             m * (choices[1].state + stashes * choices[1].stash);
        if (bytes > room) continue;
        least = std::min(least, n * choices[0].seconds + m * choices[1].seconds);
      }
      const double proved = bounds.step({0, kLayers - 1, stashes});
      EXPECT_LE(proved, least * (1.0 + 1e-12));
      EXPECT_GE(proved, of_four);
      if (proved > of_four * (1.0 + 1e-9)) ++more;
    }
  }
  EXPECT_GT(more, 60);
}

// A layer without a choice on the mesh keeps no run beside it from being bounded.
TEST(MeshBounds, RunsBesideALayerWithoutAChoiceHaveBounds) {
  const std::vector<int> classes{0, 1, 2, 2, 2};
  MeshBounds bounds(1, 1, 100.0, 1.0, no_floors(5, 2));
  const MeshBounds::Solver solver{
      classes, 2,
      [](const StageWeights& w, int layer, std::size_t way, BoundHints&) {
        if (layer == 1) return kInfinity;
        return w.forward * (way == 0 ? 1.0 : 2.0);
      },
      [](int, std::size_t) { return true; }};
  bounds.look(0, 4, kInfinity, solver);
  bounds.look(2, 4, kInfinity, solver);
  (void)bounds.look_at_ways({2, 4, 1.0}, kInfinity, solver);
  EXPECT_EQ(bounds.step({0, 1, 1.0}), kInfinity);
  EXPECT_EQ(bounds.step({1, 1, 1.0}), kInfinity);
  EXPECT_EQ(bounds.step({0, 0, 1.0}), 1.0);
  EXPECT_EQ(bounds.step({2, 4, 1.0}), 3.0);
  EXPECT_EQ(bounds.step({3, 4, 1.0}), 2.0);
}

// What is computed again takes time of its own as soon as its bounds without memory are known.
TEST(MeshBounds, WhatHasNoRoomIsComputedAgain) {
  constexpr int kLayers = 3;
  const std::vector<int> classes(kLayers, 0);
  const std::vector<double> seconds{1.0, 1.5};  // by way
  const auto floors = std::make_shared<const LayerFloors>(
      LayerFloors{{{0.0, 0.5, 1.0, 1.5}, {0.0, 0.6, 1.2, 1.8}},
                  std::make_shared<const LeastBytes>(
                      std::vector<double>(kLayers, 10.0),
                      std::vector<std::vector<double>>{{4.0, 4.0, 4.0}, {1.0, 1.0, 1.0}},
                      std::vector<std::vector<double>>(2, std::vector<double>(kLayers, 2.0)))});
  MeshBounds bounds(1, 2, 29.0, 1.0, floors);  // of both devices 58 bytes, 26 of them for stashes
  const MeshBounds::Solver solver{classes, 2,
                                  [&](const StageWeights& w, int, std::size_t way, BoundHints&) {
                                    return w.forward * seconds[way];
                                  },
                                  [](int, std::size_t) { return true; }};
  bounds.look(0, 2, kInfinity, solver);
  EXPECT_EQ(bounds.step({0, 2, 4.0}), 3.0);
  EXPECT_FALSE(bounds.look_at_ways({0, 2, 1.0}, kInfinity, solver));  // all have room
  EXPECT_FALSE(bounds.look_at_ways({0, 2, 4.0}, 2.0, solver));        // more is not asked for
  ASSERT_TRUE(bounds.look_at_ways({0, 2, 4.0}, kInfinity, solver));
  // 4 stashes of 6.5 bytes: one layer of three may keep all, as 4 + 1 + 1 <= 6.5 < 4 + 4 + 1.
  EXPECT_NEAR(bounds.step({0, 2, 4.0}), 1.0 + 2 * 1.5, 1e-6);
  EXPECT_NEAR(bounds.step({0, 2, 8.0}), 3 * 1.5, 1e-6);
  EXPECT_EQ(bounds.step({0, 2, 1.0}), 3.0);
  EXPECT_FALSE(bounds.look_at_ways({0, 2, 4.0}, kInfinity, solver));  // nothing is left to ask
}

TEST(LeastBytes, NoArenaHoldsLess) {
  std::mt19937_64 random(7);
  ClusterSpec cluster = test::one_host(8);
  int stages = 0;
  for (const Preset preset : {Preset::mlp, Preset::gpt, Preset::moe, Preset::wide_resnet}) {
    for (const Precision precision : {Precision::fp32, Precision::fp16}) {
      const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
      for (int i = 0; i < 10; ++i) {
        const Plan plan = law::random_plan(test, 2 + static_cast<int>(random() % 6), random);
        if (chunks_per_stage(plan) > 1) continue;
        const Graph graph = law::graph_of(test, plan);
        const LeastBytes bytes({&graph}, LayerLine(graph.num_layers), plan.num_microbatches, true);
        const PlanPrice truth = price(graph, plan, cluster, no_workspace);
        const int count = static_cast<int>(plan.stages.size());
        for (int s = 0; s < count; ++s) {
          const StagePlan& stage = plan.stages[static_cast<std::size_t>(s)];
          const auto [first, last] = stage.chunks.front();
          const int depth = std::min(count - s, plan.num_microbatches);
          EXPECT_LE((bytes.of(first, last, depth) + bytes.transient(first, last)) /
                        static_cast<double>(stage.ranks.size()),
                    static_cast<double>(truth.arenas[static_cast<std::size_t>(s)].value))
              << law::name_in_files(preset) << " plan " << i << " stage " << s;
          ++stages;
        }
      }
    }
  }
  EXPECT_GT(stages, 60);
}

// A bound of large microbatches holds for plans of smaller ones that they could be put together of.
TEST(Bounds, OfJoinedMicrobatchesHoldForTheirParts) {
  constexpr int kSamples = 8;
  for (const Preset preset : {Preset::gpt, Preset::mlp}) {
    for (const Precision precision : {Precision::fp32, Precision::fp16}) {
      const law::Case test = law::case_of({preset, OptimizerKind::adamw, precision, 0.5});
      const Graph whole = test.make_graph(kSamples);
      for (const DeviceMesh& mesh : {DeviceMesh{{4}}, DeviceMesh{{2, 2}}}) {
        const MeshCosts costs = test::costs_of(test::one_host(4), mesh);
        const StageModel of_whole(whole, costs, 1, {});
        for (const int parts : {2, 4, 8}) {
          const Graph part = test.make_graph(kSamples / parts);
          const StageModel of_parts(part, costs, parts, {});
          for (const double byte : {0.0, 1e-11, 1e-9}) {
            StageWeights weights;
            weights.state_byte = weights.stash_byte = byte;
            StageWeights several = weights;
            several.forward = several.backward = parts;
            several.stash_byte = parts * byte;
            for (int l = 0; l < whole.num_layers; ++l) {
              const double bound = of_whole.bound(l, l, weights, {}, 1, true);
              EXPECT_LE(bound, of_parts.bound(l, l, several, {}) * (1.0 + 1e-9))
                  << "layer " << l << ", " << parts << " parts";
              EXPECT_GT(bound, 0.0);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace alpa
