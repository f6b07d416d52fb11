#include "fitting_bound.hpp"

#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "alpa/graph/layer_line.hpp"
#include "alpa/simulate/price.hpp"

#include "intra_op/models.hpp"
#include "kernel_bound.hpp"
#include "law/models.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> sums_of(const std::vector<double>& values) {
  std::vector<double> sums{0.0};
  for (const double value : values) sums.push_back(sums.back() + value);
  return sums;
}

// Of few layers it is the least of all choices that have room, of many no more.
TEST(FittingBound, IsTheLeastOfAllChoicesOfFewLayers) {
  constexpr std::size_t kWays = 3;
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  int full = 0, none = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const std::size_t layers = 1 + random() % 6;
    const std::size_t kinds = 1 + random() % 3;
    std::vector<double> state;
    std::vector<std::vector<double>> seconds(kWays), stashes(kWays), transients(kWays);
    for (std::size_t l = 0; l < layers; ++l) {
      const bool new_kind = l < kinds;
      const std::size_t like = new_kind ? l : random() % kinds % l;
      state.push_back(10.0 * uniform(random));
      for (std::size_t w = 0; w < kWays; ++w) {
        const double base = w == 0 ? 1.0 + uniform(random) : 0.0;
        seconds[w].push_back(!new_kind ? seconds[w][like]
                             : w == 0  ? base
                                       : seconds[w - 1][l] + uniform(random));
        stashes[w].push_back(new_kind ? (5.0 + 5.0 * uniform(random)) / static_cast<double>(1 + w)
                                      : stashes[w][like]);
        transients[w].push_back(new_kind ? 2.5 * static_cast<double>(random() % 5)
                                         : transients[w][like]);
      }
    }
    std::vector<std::vector<double>> sums;
    for (const auto& of_way : seconds) sums.push_back(sums_of(of_way));
    const FittingBound bound(sums, LeastBytes(state, stashes, transients));
    const int in_flight = 1 + static_cast<int>(random() % 4);
    const double room = static_cast<double>(layers) * (5.0 + 10.0 * in_flight * uniform(random));
    double least = kInfinity;
    for (std::size_t choice = 0; choice < 729; ++choice) {
      double time = 0.0, bytes = 0.0, at_once = 0.0;
      std::size_t rest = choice;
      for (std::size_t l = 0; l < layers; ++l, rest /= kWays) {
        time += seconds[rest % kWays][l];
        bytes += state[l] + in_flight * stashes[rest % kWays][l];
        at_once = std::max(at_once, transients[rest % kWays][l]);
      }
      if (bytes + at_once <= room) least = std::min(least, time);
    }
    const double found = bound.of(0, static_cast<int>(layers) - 1, in_flight, room);
    if (least == kInfinity) {
      EXPECT_EQ(found, kInfinity);
      ++none;
    } else {
      EXPECT_NEAR(found, least, 1e-6);
      if (found > sums.front().back() * (1 + 1e-6)) ++full;
    }
  }
  EXPECT_GT(full, 60);
  EXPECT_GT(none, 20);
}

// No stage of any plan that computes some layers again is faster than the bound of its layers in as
// much memory as what it keeps takes.
TEST(FittingBound, HoldsForEveryStageOfRandomPlans) {
  std::mt19937_64 random(21);
  const ClusterSpec cluster = test::one_host(6);
  int again = 0;
  for (const Preset preset : {Preset::gpt, Preset::moe, Preset::wide_resnet}) {
    const law::Case test = law::case_of({preset, OptimizerKind::adamw, Precision::fp16, 0.5});
    for (int i = 0; i < 20; ++i) {
      const Plan plan = law::random_plan(test, 1 + static_cast<int>(random() % 6), random);
      if (chunks_per_stage(plan) > 1) continue;
      SCOPED_TRACE(law::name_in_files(preset) + " plan " + std::to_string(i));
      const auto layers = static_cast<std::size_t>(law::graph_of(test, plan).num_layers);
      std::vector<Graph> graphs;
      for (const Recompute way : {Recompute::none, Recompute::attention, Recompute::full}) {
        Plan alike = plan;
        alike.recompute.assign(layers, way);
        graphs.push_back(law::graph_of(test, alike));
      }
      std::vector<const Graph*> ways;
      std::vector<KernelBound> kernels;
      for (const Graph& graph : graphs) {
        ways.push_back(&graph);
        kernels.emplace_back(graph, cluster, plan.num_microbatches);
      }
      const LeastBytes bytes(ways, LayerLine(static_cast<int>(layers)), plan.num_microbatches,
                             true);
      const PlanPrice truth = price(law::graph_of(test, plan), plan, cluster, no_workspace);
      for (std::size_t s = 0; s < plan.stages.size(); ++s) {
        const auto [first, last] = plan.stages[s].chunks.front();
        const int devices = num_devices(plan.stages[s].mesh);
        std::vector<std::vector<double>> seconds;
        for (const KernelBound& of_way : kernels) seconds.push_back(of_way.step(devices));
        const int depth = std::min(static_cast<int>(plan.stages.size() - s), plan.num_microbatches);
        // As much as is counted of what the plan itself keeps.
        double room = 0.0, at_once = 0.0;
        for (int l = first; l <= last; ++l) {
          const auto at = static_cast<std::size_t>(l);
          const auto way =
              plan.recompute.empty() ? 0 : static_cast<std::size_t>(plan.recompute[at]);
          room += bytes.state()[at + 1] - bytes.state()[at];
          room += depth * (bytes.stash_of(way)[at + 1] - bytes.stash_of(way)[at]);
          at_once = std::max(at_once, bytes.transient_of(way)[at]);
        }
        room += at_once;
        EXPECT_LE(room / devices, static_cast<double>(truth.arenas[s].value));
        const double bound = FittingBound(seconds, bytes).of(first, last, depth, room);
        const StageTimes& t = truth.stages[s];
        const double step = plan.num_microbatches * (t.forward + t.backward).value + t.update.value;
        EXPECT_LE(bound, step * (1 + 1e-9));
        const auto of_first = [&](const std::vector<double>& sums) {
          return sums[static_cast<std::size_t>(last) + 1] - sums[static_cast<std::size_t>(first)];
        };
        if (bound > of_first(seconds.front()) * (1 + 1e-6)) ++again;
      }
    }
  }
  EXPECT_GT(again, 5);
}

}  // namespace
}  // namespace alpa
