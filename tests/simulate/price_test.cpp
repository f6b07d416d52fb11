#include "alpa/simulate/price.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "alpa/plan/methods.hpp"
#include "alpa/simulate/simulate.hpp"

#include "law/models.hpp"

namespace alpa {
namespace {

/// Hosts of four devices; small enough that launches, bytes and links all matter.
ClusterSpec cluster_of(int devices) {
  ClusterSpec cluster;
  cluster.kinds.resize(1);
  cluster.kinds[0].peak_flops = {{DType::f32, 1e11}, {DType::f64, 1e11}};
  cluster.kinds[0].memory_bandwidth = 1e10;
  cluster.kinds[0].launch = {1e-7};
  for (int left = devices; left > 0; left -= 4) {
    cluster.hosts.push_back({0, std::min(left, 4), {{1e-7}, 1e10}});
  }
  cluster.inter_host = {{1e-6}, 1e9};
  return cluster;
}

law::Case model(Preset preset) {
  return law::case_of({preset, OptimizerKind::adamw, Precision::fp32, 0.5});
}

double simulated(const Graph& graph, const Plan& plan, const ClusterSpec& cluster) {
  std::vector<int> ranks(static_cast<std::size_t>(plan.world_size));
  std::iota(ranks.begin(), ranks.end(), 0);
  std::vector<Program> programs;
  for (RankPrograms& rank : lower(graph, plan, ranks, no_workspace)) {
    programs.push_back(std::move(rank.step));
  }
  return simulate(programs, costs_on(cluster, graph, plan)).makespan.value;
}

struct Request {
  Method method;
  int ranks;
  std::int64_t microbatches;
  PipelineSchedule schedule = PipelineSchedule::automatic;
};

Plan plan_of(const law::Case& test, const Request& r) {
  MethodRequest request;
  request.parallel.method = r.method;
  request.parallel.schedule = r.schedule;
  request.parallel.microbatches = r.microbatches;
  request.world_size = r.ranks;
  request.global_batch = test.global_batch;
  return plan_by_method(request, test.make_graph);
}

TEST(Price, OfOneDeviceIsItsSimulatedTime) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = model(preset);
    for (const std::int64_t microbatches : {1, 2, 8}) {
      const Plan plan = plan_of(test, {Method::data, 1, microbatches});
      const Graph graph = test.make_graph(test.global_batch / microbatches);
      const ClusterSpec cluster = cluster_of(1);
      const PlanPrice p = price(graph, plan, cluster, no_workspace);
      EXPECT_NEAR(p.step_time.value / simulated(graph, plan, cluster), 1.0, 1e-12);
      EXPECT_EQ(p.bubble, 0.0);
      EXPECT_EQ(p.arenas[0], lower(graph, plan, 0, no_workspace).step.arena);
      const StageTimes& t = p.stages[0];
      EXPECT_NEAR(p.pipeline.value,
                  static_cast<double>(microbatches) * (t.forward + t.backward).value, 1e-12);
    }
  }
}

/// The times of a stage's chunks add up to its own, the table is that of the chunks, and the arena
/// is what the programs need.
TEST(Price, OfInterleavedPipelines) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = model(preset);
    for (const int ranks : {2, 4}) {
      const Plan plan = plan_of(test, {Method::pipedream, ranks, 8, PipelineSchedule::interleaved});
      const Graph graph = test.make_graph(test.global_batch / 8);
      ClusterSpec cluster = cluster_of(ranks);
      const PlanPrice p = price(graph, plan, cluster, no_workspace);
      const auto stages = static_cast<std::size_t>(ranks);
      ASSERT_EQ(p.chunks.size(), 2 * stages);
      for (std::size_t s = 0; s < stages; ++s) {
        const StageTimes& t = p.stages[s];
        const Seconds forward = p.chunks[s].forward + p.chunks[s + stages].forward;
        const Seconds backward = p.chunks[s].backward + p.chunks[s + stages].backward;
        EXPECT_NEAR(forward.value / t.forward.value, 1.0, 1e-12);
        EXPECT_NEAR(backward.value / t.backward.value, 1.0, 1e-12);
        EXPECT_EQ(p.arenas[s], lower(graph, plan, static_cast<int>(s), no_workspace).step.arena);
      }
      // Every border is crossed, there and back, the one from the last stage to the first too.
      EXPECT_EQ(p.transfers.size(), 2 * (2 * stages - 1));
      EXPECT_EQ(p.pipeline, makespan(interleaved(ranks, 2, 8), p.chunks, p.transfers));
      const double simulated_time = simulated(graph, plan, cluster);
      EXPECT_NEAR(p.step_time.value / simulated_time, 1.0, 0.2);
    }
  }
}

/// A backward in two halves: the first stage, which nobody waits for, has the second alone.
TEST(Price, OfZeroBubblePipelines) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = model(preset);
    const int ranks = 4;
    const Plan plan = plan_of(test, {Method::pipedream, ranks, 8, PipelineSchedule::zero_bubble});
    const Graph graph = test.make_graph(test.global_batch / 8);
    const ClusterSpec cluster = cluster_of(ranks);
    const PlanPrice p = price(graph, plan, cluster, no_workspace);
    ASSERT_EQ(p.chunks.size(), 4U);
    for (std::size_t s = 0; s < p.chunks.size(); ++s) {
      const Seconds backward = p.chunks[s].backward + p.chunks[s].weights;
      EXPECT_NEAR(backward.value / p.stages[s].backward.value, 1.0, 1e-12);
      EXPECT_GT(p.chunks[s].weights, Seconds{0.0});
      EXPECT_EQ(p.chunks[s].backward > Seconds{0.0}, s > 0);
    }
    EXPECT_EQ(p.pipeline, makespan(zero_bubble(ranks, 8), p.chunks, p.transfers));
    const Plan whole =
        plan_of(test, {Method::pipedream, ranks, 8, PipelineSchedule::one_forward_one_backward});
    EXPECT_LT(p.pipeline, price(graph, whole, cluster, no_workspace).pipeline);
    EXPECT_NEAR(p.step_time.value / simulated(graph, plan, cluster), 1.0, 0.2);
  }
}

/// The price lets stages wait for each other between the parts of a step, and collectives for
/// kernels; the programs overlap what they can.
TEST(Price, IsAtLeastTheSimulatedTimeWithinAStage) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = model(preset);
    for (const Request& r : std::vector<Request>{{Method::data, 8, 1},
                                                 {Method::zero1, 8, 1},
                                                 {Method::zero2, 4, 2},
                                                 {Method::zero3, 8, 1},
                                                 {Method::intra_only, 8, 2},
                                                 {Method::heuristic, 8, 1}}) {
      const Plan plan = plan_of(test, r);
      const Graph graph = law::graph_of(test, plan);
      const ClusterSpec cluster = cluster_of(r.ranks);
      const double time = simulated(graph, plan, cluster);
      const double priced = price(graph, plan, cluster, no_workspace).step_time.value;
      EXPECT_GE(priced, time * (1 - 1e-9)) << plan.method << " on " << r.ranks;
      EXPECT_LE(priced, time * 1.1) << plan.method << " on " << r.ranks;
    }
  }
}

/// The exchanges of the programs are meetings, so that slow messages delay more than the price
/// says; where they are free, nothing of a pipeline is left out.
TEST(Price, IsAtLeastTheSimulatedTimeOfPipelinesWithFreeMessages) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = model(preset);
    for (const Request& r :
         std::vector<Request>{{Method::inter_only, 4, 4},
                              {Method::pipedream, 8, 8},
                              {Method::inter_only, 8, 8, PipelineSchedule::gpipe}}) {
      const Plan plan = plan_of(test, r);
      const Graph graph = law::graph_of(test, plan);
      ClusterSpec cluster = cluster_of(r.ranks);
      for (Link* link :
           {&cluster.inter_host, &cluster.hosts[0].intra_host, &cluster.hosts.back().intra_host}) {
        *link = {{0.0}, 1e30};
      }
      const double time = simulated(graph, plan, cluster);
      const PlanPrice p = price(graph, plan, cluster, no_workspace);
      EXPECT_GE(p.step_time.value, time * (1 - 1e-9)) << plan.method << " on " << r.ranks;
      EXPECT_LE(p.step_time.value, time * 1.2) << plan.method << " on " << r.ranks;
      EXPECT_GT(p.bubble, 0.0);
      EXPECT_LT(p.bubble, 1.0);
    }
  }
}

TEST(Price, OfRandomPlansIsCloseToTheSimulatedTime) {
  std::mt19937_64 random(3);
  const law::Case test = model(Preset::gpt);
  for (int i = 0; i < 8; ++i) {
    const int ranks = 1 + static_cast<int>(random() % 8);
    const Plan plan = random_plan(test, ranks, random);
    const Graph graph = law::graph_of(test, plan);
    const ClusterSpec cluster = cluster_of(ranks);
    const PlanPrice p = price(graph, plan, cluster, no_workspace);
    const double ratio = p.step_time.value / simulated(graph, plan, cluster);
    EXPECT_GE(ratio, 0.95) << ranks << " ranks, " << plan.stages.size() << " stages";
    EXPECT_LE(ratio, 1.2) << ranks << " ranks, " << plan.stages.size() << " stages";
    ASSERT_EQ(p.stages.size(), plan.stages.size());
    for (std::size_t s = 0; s < plan.stages.size(); ++s) {
      const Program step = lower(graph, plan, plan.stages[s].ranks.back(), no_workspace).step;
      EXPECT_EQ(p.stages[s], stage_times(step, cluster, plan.stages[s]));
      EXPECT_EQ(p.totals[s].flops, totals(step).flops);
      EXPECT_EQ(p.arenas[s], step.arena);
    }
  }
}

/// Prices of logical meshes stand in place of the links: the same all-reduces, figures from axes.
TEST(Price, TakesTheAxesOfTheClusterInPlaceOfItsLinks) {
  const law::Case test = model(Preset::mlp);
  const Plan plan = plan_of(test, {Method::data, 4, 1});
  const Graph graph = test.make_graph(test.global_batch);
  ClusterSpec cluster = cluster_of(4);
  cluster.axes = {{1e-3, 0.0}};
  const PlanPrice p = price(graph, plan, cluster, no_workspace);
  const Program step = lower(graph, plan, 3, no_workspace).step;
  std::int64_t all_reduces = 0;
  for (const auto& [kind, count] : totals(step).counts) {
    if (kind == "all_reduce") all_reduces += count;
  }
  EXPECT_NEAR(p.collectives[0].value, 1e-3 * static_cast<double>(all_reduces - 1), 1e-12);
  EXPECT_EQ(p.norm.value, 0.0);  // the one that is left out
}

TEST(Price, OfAPlanWithIdleRanksIsThatOfTheStagesThatWork) {
  const law::Case test = model(Preset::mlp);
  Plan plan = plan_of(test, {Method::data, 2, 1});
  const Graph graph = test.make_graph(test.global_batch);
  const PlanPrice small = price(graph, plan, cluster_of(2), no_workspace);
  plan.world_size = 4;
  const PlanPrice idle = price(graph, plan, cluster_of(4), no_workspace);
  EXPECT_EQ(idle.stages, small.stages);
  EXPECT_EQ(idle.pipeline, small.pipeline);
  EXPECT_GT(idle.norm, small.norm);  // all ranks take part in it
}

TEST(Price, OfWhatADeviceCannotRunIsInfinite) {
  const law::Case test = model(Preset::mlp);
  const Plan plan = plan_of(test, {Method::inter_only, 2, 2});
  const Graph graph = test.make_graph(test.global_batch / 2);
  ClusterSpec cluster = cluster_of(2);
  cluster.kinds[0].peak_flops.clear();
  const PlanPrice p = price(graph, plan, cluster, no_workspace);
  EXPECT_EQ(p.step_time.value, std::numeric_limits<double>::infinity());
}

/// Two stages on one core, timed with both at work: a pipeline is the sum of the work, done twice
/// as fast, however the stages wait for each other; what both do at once is as measured.
TEST(Price, StagesThatShareACoreTakeTheSumOfTheirWork) {
  const law::Case test = model(Preset::mlp);
  const Plan plan = plan_of(test, {Method::inter_only, 2, 4});
  const Graph graph = test.make_graph(test.global_batch / 4);
  ClusterSpec cluster = cluster_of(2);
  cluster.hosts[0].intra_host = {{0.0}, 1e30};
  const PlanPrice apart = price(graph, plan, cluster, no_workspace);
  cluster.hosts[0].shared_cores = 1.0;
  const PlanPrice shared = price(graph, plan, cluster, no_workspace);
  double work = 0.0;
  for (const StageTimes& t : shared.stages) work += 4 * (t.forward + t.backward).value;
  EXPECT_NEAR(shared.pipeline.value / (work / 2), 1.0, 1e-9);
  EXPECT_LT(shared.pipeline, apart.pipeline);
  EXPECT_EQ(shared.update, apart.update);
  EXPECT_EQ(shared.stages, apart.stages);
}

/// Four devices of a host send to the four of another: its link in quarters, unless one sends all.
TEST(Price, DevicesThatSendAtOnceShareTheHostsLink) {
  const law::Case test = model(Preset::mlp);
  MethodRequest request;
  request.parallel.method = Method::megatron;
  request.parallel.data = 4;
  request.parallel.tensor = 1;
  request.parallel.pipeline = 2;
  request.parallel.microbatches = 1;
  request.world_size = 8;
  request.global_batch = test.global_batch;
  const Plan plan = plan_by_method(request, test.make_graph);
  const Graph graph = test.make_graph(test.global_batch);
  ClusterSpec cluster = cluster_of(8);
  cluster.inter_host.latency = {0.0};
  const PlanPrice split = price(graph, plan, cluster, no_workspace);
  ASSERT_EQ(split.transfers.size(), 2U);
  // [8, 16] floats cross, a quarter from each device, over a quarter of the link.
  EXPECT_NEAR(split.transfers[0].time.value, 8 * 16 * 4 / 1e9, 1e-12);
  cluster.collectives = {{"message", 2, 2, {{1.0, 0.25}}}};
  EXPECT_NEAR(price(graph, plan, cluster, no_workspace).transfers[0].time.value, 0.25 * 128, 1e-9);
}

}  // namespace
}  // namespace alpa
