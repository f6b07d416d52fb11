#include "border_traffic.hpp"

#include <random>

#include <gtest/gtest.h>

#include "alpa/simulate/price.hpp"

#include "intra_op/models.hpp"
#include "law/models.hpp"
#include "pipeline_bound.hpp"

namespace alpa {
namespace {

/// Two hosts with a link between them that is slower than those inside.
ClusterSpec two_hosts(int devices) {
  ClusterSpec cluster = test::one_host(devices);
  cluster.hosts.push_back(cluster.hosts.front());
  cluster.inter_host = {{5e-6}, 1e8};
  return cluster;
}

// Whatever the layouts, neighbours take no less time for their messages.
TEST(LanesBehind, NoPlanSendsFaster) {
  std::mt19937_64 random(13);
  int inside = 0, across = 0;
  double closest = 0.0;
  for (const Preset preset : {Preset::mlp, Preset::gpt, Preset::moe, Preset::wide_resnet}) {
    const law::Case test = law::case_of({preset, OptimizerKind::adamw, Precision::fp16, 0.5});
    for (int i = 0; i < 25; ++i) {
      const int host = 2 + static_cast<int>(random() % 2);
      const Plan plan = law::random_plan(test, 2 * host, random);
      if (chunks_per_stage(plan) > 1) continue;
      SCOPED_TRACE(law::name_in_files(preset) + " plan " + std::to_string(i));
      const Graph graph = law::graph_of(test, plan);
      const ClusterSpec cluster = two_hosts(host);
      const BorderTraffic traffic = neighbours_traffic(graph, LayerLine(graph.num_layers));
      const PlanPrice truth = price(graph, plan, cluster, no_workspace);
      for (std::size_t s = 0; s + 1 < plan.stages.size(); ++s) {
        const StagePlan& stage = plan.stages[s];
        const StagePlan& next = plan.stages[s + 1];
        const int devices = static_cast<int>(stage.ranks.size());
        const int end = stage.ranks.front() + devices;
        // As the search places them: in order, inside one host or on whole hosts.
        const bool whole = stage.ranks.front() % host == 0 && end % host == 0;
        const bool one = host_of(cluster, stage.ranks.front()) == host_of(cluster, end - 1);
        if (next.ranks.front() != end || stage.ranks.back() != end - 1 || (!whole && !one))
          continue;
        const Lanes lanes = lanes_behind(cluster, stage.ranks.front(), devices);
        const auto border = static_cast<std::size_t>(next.chunks.front().first);
        double forth = 0.0, back = 0.0;
        for (const StageTransfer& t : truth.transfers) {
          const int from = static_cast<int>(s);
          if (!t.backward && t.from == from && t.to == from + 1) forth += t.time.value;
          if (t.backward && t.from == from + 1 && t.to == from) back += t.time.value;
        }
        EXPECT_LE(lanes.seconds(traffic.forward[border]), forth * (1 + 1e-9));
        EXPECT_LE(lanes.seconds(traffic.backward[border]), back * (1 + 1e-9));
        closest = std::max(closest, lanes.seconds(traffic.forward[border]) / forth);
        ++(host_of(cluster, end) == host_of(cluster, end - 1) ? inside : across);
      }
    }
  }
  EXPECT_GT(inside, 10);
  EXPECT_GT(across, 10);
  EXPECT_GT(closest, 0.9);
}

// No stage is done sooner than its stashes and the way of the first microbatch allow.
TEST(BesideFirst, HoldsForEveryStageOfRandomPlans) {
  std::mt19937_64 random(5);
  int waiting = 0;
  double closest = 0.0;
  for (const Preset preset : {Preset::mlp, Preset::gpt, Preset::wide_resnet}) {
    const law::Case test = law::case_of({preset, OptimizerKind::adamw, Precision::fp16, 0.5});
    for (int i = 0; i < 40; ++i) {
      const Plan plan = law::random_plan(test, 2 + static_cast<int>(random() % 5), random);
      const bool one = plan.schedule == PipelineKind::one_f_one_b;
      if (!one && plan.schedule != PipelineKind::gpipe) continue;
      SCOPED_TRACE(law::name_in_files(preset) + " plan " + std::to_string(i));
      const PlanPrice truth = price(law::graph_of(test, plan), plan, two_hosts(3), no_workspace);
      const int all = plan.num_microbatches;
      double behind = 0.0;
      for (std::size_t s = plan.stages.size(); s-- > 0;) {
        const int left = static_cast<int>(plan.stages.size() - s);
        const int depth = !one ? all : std::min(all, plan.warm_up.empty() ? left : plan.warm_up[s]);
        const double backward = truth.stages[s].backward.value;
        const double each = truth.stages[s].forward.value + backward;
        const double own = one ? beside_first(all * each, backward, depth, all) : all * each;
        const double least = behind + own;
        EXPECT_LE(least, truth.pipeline.value * (1 + 1e-9)) << "stage " << s;
        if (least > all * each * (1 + 1e-9)) ++waiting;
        closest = std::max(closest, least / truth.pipeline.value);
        behind += each;
        for (const StageTransfer& t : truth.transfers) {
          if (std::max(t.from, t.to) == static_cast<int>(s)) behind += t.time.value;
        }
      }
    }
  }
  EXPECT_GT(waiting, 20);
  EXPECT_GT(closest, 0.95);
}

}  // namespace
}  // namespace alpa
