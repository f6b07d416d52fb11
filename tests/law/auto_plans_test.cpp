#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/inter_op/search.hpp"

#include "law/models.hpp"

/// The law for plans that nobody wrote: whatever the search chooses, on whatever cluster, gives the
/// numbers of one rank, and is priced no worse than any method by hand.
namespace alpa::law {
namespace {

enum class Links { fast, slow_between_hosts, tight_memory };

struct Setting {
  Preset preset = Preset::gpt;
  int ranks = 1;
  Links links = Links::fast;
};

std::string name_of(const Setting& setting) {
  static const std::map<Links, std::string> kNames = {
      {Links::fast, "fast"}, {Links::slow_between_hosts, "slow"}, {Links::tight_memory, "tight"}};
  return std::string(setting.preset == Preset::mlp ? "mlp_" : "gpt_") +
         std::to_string(setting.ranks) + "_" + kNames.at(setting.links);
}

/// Devices so slow that these tiny models have something to gain; two hosts with slow links
/// between.
ClusterSpec cluster_of(const Setting& setting) {
  ClusterSpec cluster;
  cluster.name = name_of(setting);
  DeviceKind kind;
  kind.name = "slow";
  kind.peak_flops = {{DType::f64, 1e7}, {DType::f32, 1e7}};
  kind.memory_bandwidth = 1e8;
  kind.launch = {1e-6};
  cluster.kinds = {kind};
  Host host;
  host.intra_host = {{1e-6}, 1e9};
  const bool hosts = setting.links == Links::slow_between_hosts && setting.ranks % 2 == 0;
  host.devices = hosts ? setting.ranks / 2 : setting.ranks;
  cluster.hosts.assign(hosts ? 2 : 1, host);
  cluster.inter_host = {{1e-5}, 2e5};
  return cluster;
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const int ranks : {1, 2, 3, 4, 8}) {
      all.push_back({preset, ranks, Links::fast});
      if (ranks % 2 == 0) all.push_back({preset, ranks, Links::slow_between_hosts});
    }
    all.push_back({preset, 4, Links::tight_memory});
  }
  return all;
}

SearchRequest request_of(const Case& test, const ClusterSpec& cluster) {
  SearchRequest request;
  request.graph = test.make_graph;
  request.global_batch = test.global_batch;
  request.cluster = cluster;
  request.workspace = no_workspace;
  return request;
}

/// Plans by hand that exist for so many ranks.
std::vector<Plan> methods(const Case& test, int ranks) {
  std::vector<Plan> plans;
  for (const Method method :
       {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::megatron,
        Method::intra_only, Method::inter_only, Method::pipedream, Method::heuristic}) {
    try {
      plans.push_back(plan_of(test, method, ranks));
    } catch (const PlanError&) {  // too few layers or samples for it
    }
  }
  return plans;
}

PlanPrice price_of(const Case& test, const Plan& plan, const ClusterSpec& cluster) {
  const Graph graph = law::graph_of(test, plan);
  return price(graph, plan, cluster, no_workspace);
}

Bytes largest(const PlanPrice& priced) {
  return *std::max_element(priced.arenas.begin(), priced.arenas.end());
}

class AutoLaw : public testing::TestWithParam<Setting> {};

TEST_P(AutoLaw, GivesTheNumbersOfOneRankAndIsNeverWorseThanAMethod) {
  const Setting& setting = GetParam();
  Case test = case_of({setting.preset, OptimizerKind::adamw, Precision::fp64, 0.5});
  const ClusterSpec cluster = cluster_of(setting);
  const std::vector<Plan> by_hand = methods(test, setting.ranks);
  ASSERT_GE(by_hand.size(), 4U);

  SearchRequest request = request_of(test, cluster);
  if (setting.links == Links::tight_memory) {
    const PlanPrice data = price_of(test, plan_of(test, Method::data, setting.ranks), cluster);
    request.memory_limit = Bytes{largest(data).value * 6 / 10};
  }
  const SearchResult found = search(request);
  ASSERT_TRUE(found.plan.has_value());
  EXPECT_LE(found.lower_bound, found.price.step_time.value * (1 + 1e-9));
  for (const Plan& plan : by_hand) {
    const PlanPrice priced = price_of(test, plan, cluster);
    if (request.memory_limit && largest(priced) > *request.memory_limit) continue;
    EXPECT_LE(found.price.step_time.value, priced.step_time.value * (1 + 1e-9)) << plan.method;
    EXPECT_LE(found.lower_bound, priced.step_time.value * (1 + 1e-9)) << plan.method;
  }
  if (request.memory_limit) {
    EXPECT_LE(largest(found.price), *request.memory_limit);
  }

  const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
  const Difference d = compare(truth, train(test, *found.plan));
  EXPECT_TRUE(d.initial_equal);
  EXPECT_LT(d.losses, 1e-9);
  EXPECT_LT(d.norms, 1e-9);
  EXPECT_LT(d.evaluation, 1e-9);
  EXPECT_LT(d.state, 1e-9) << d.worst_tensor;

  request.seeds = by_hand;
  const SearchResult seeded = search(request);
  ASSERT_TRUE(seeded.plan.has_value());
  for (const Plan& plan : by_hand) {
    const PlanPrice priced = price_of(test, plan, cluster);
    if (request.memory_limit && largest(priced) > *request.memory_limit) continue;
    EXPECT_LE(seeded.price.step_time.value, priced.step_time.value * (1 + 1e-12)) << plan.method;
  }
}

TEST(AutoLaw, HoldsWhereSomeLayersAreComputedAgain) {
  for (const int ranks : {1, 2}) {
    SCOPED_TRACE(ranks);
    const Case test = case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp64, 0.5});
    SearchRequest request = request_of(test, cluster_of({Preset::gpt, ranks, Links::fast}));
    request.constraints.microbatches = 1;
    const auto with = [&](std::optional<Recompute> recompute) {
      request.recompute = recompute;
      return search(request);
    };
    const Bytes kept = largest(with(Recompute::none).price);
    const Bytes again = largest(with(Recompute::full).price);
    request.memory_limit = Bytes{(kept.value + again.value) / 2};
    const SearchResult found = with(std::nullopt);
    ASSERT_TRUE(found.plan.has_value());
    const std::set<Recompute> kinds(found.plan->recompute.begin(), found.plan->recompute.end());
    EXPECT_GT(kinds.size(), 1U);
    const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
    const Difference d = compare(truth, train(test, *found.plan));
    EXPECT_TRUE(d.initial_equal);
    EXPECT_LT(d.losses, 1e-9);
    EXPECT_LT(d.norms, 1e-9);
    EXPECT_LT(d.evaluation, 1e-9);
    EXPECT_LT(d.state, 1e-9) << d.worst_tensor;
  }
}

INSTANTIATE_TEST_SUITE_P(All, AutoLaw, testing::ValuesIn(settings()),
                         [](const auto& each) { return name_of(each.param); });

TEST(AutoLaw, SlowLinksBetweenHostsMakeAPipeline) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const Case test = case_of({preset, OptimizerKind::adamw, Precision::fp64, 0.5});
    ClusterSpec cluster = cluster_of({preset, 4, Links::slow_between_hosts});
    cluster.kinds.front().peak_flops = {{DType::f64, 1e5}};
    cluster.inter_host = {{1e-5}, 2e4};
    const SearchResult found = search(request_of(test, cluster));
    ASSERT_TRUE(found.plan.has_value());
    EXPECT_GE(found.plan->stages.size(), 2U);
    const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
    const Difference d = compare(truth, train(test, *found.plan));
    EXPECT_LT(d.losses, 1e-9);
    EXPECT_LT(d.state, 1e-9) << d.worst_tensor;
  }
}

// Each method is the same search under constraints, and gets the same price through both ways.
TEST(AutoLaw, MethodsAreConstraints) {
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const Case test = case_of({preset, OptimizerKind::adamw, Precision::fp64, 0.5});
    for (const int ranks : {2, 4}) {
      const ClusterSpec cluster = cluster_of({preset, ranks, Links::fast});
      for (const Plan& plan : methods(test, ranks)) {
        SearchRequest request = request_of(test, cluster);
        request.constraints = constraints_of(plan);
        const SearchResult found = search(request);
        ASSERT_TRUE(found.plan.has_value()) << plan.method;
        const double priced = price_of(test, plan, cluster).step_time.value;
        EXPECT_NEAR(found.price.step_time.value, priced, 1e-9 * priced) << plan.method;
        EXPECT_NEAR(found.lower_bound, priced, 1e-9 * priced) << plan.method;
      }
    }
  }
}

}  // namespace
}  // namespace alpa::law
