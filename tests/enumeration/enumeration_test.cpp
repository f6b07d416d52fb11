#include <algorithm>
#include <cstdlib>
#include <iostream>

#include <gtest/gtest.h>

#include "alpa/inter_op/search.hpp"

#include "enumeration/small_problem.hpp"
#include "space_bound.hpp"

/// The search against every plan there is, on random small joint problems. The enumerator builds
/// plans from the rules by itself and prices each with `price` and packed memory.
namespace alpa::enumeration {
namespace {

constexpr std::size_t kMostPlans = 400;

/// ALPA_ENUMERATIONS sets another number of problems (the test labelled slow).
int num_problems(int otherwise) {
  const char* wanted = std::getenv("ALPA_ENUMERATIONS");
  return wanted == nullptr ? otherwise : std::atoi(wanted);
}

struct Counted {
  SmallProblem problem;
  std::vector<PricedCandidate> plans;
};

/// As many free choices as leave few enough plans.
Counted counted_problem(std::uint64_t seed) {
  for (int free_choices = 4; free_choices >= 0; --free_choices) {
    SmallProblem problem = small_problem(seed, free_choices);
    if (free_choices == 0) {
      for (auto& [name, choices] : problem.retentions) choices.resize(1);
    }
    auto plans = enumerate(problem, free_choices == 0 ? 100 * kMostPlans : kMostPlans);
    if (plans) return {std::move(problem), std::move(*plans)};
  }
  return {};
}

SearchRequest request_of(const SmallProblem& problem) {
  SearchRequest request;
  request.graph = [&problem](std::int64_t microbatch) { return problem.graphs.at(microbatch); };
  request.recompute = problem.recompute;
  request.global_batch = problem.global_batch;
  request.cluster = problem.cluster;
  request.workspace = no_workspace;
  request.more_schedules = false;  // the enumerator has GPipe and 1F1B
  request.constraints.stage.strategies = [&problem](const Operator& op, const DeviceMesh& mesh) {
    return std::optional(problem.allowed(op, mesh));
  };
  request.constraints.stage.retentions =
      [&problem](const Tensor& tensor) -> std::optional<std::vector<Retention>> {
    if (!problem.retentions.contains(tensor.name)) return std::nullopt;
    return problem.allowed(tensor);
  };
  return request;
}

/// The bound of spaces that are too large to be gone through, as a share of the least price.
double share_of_bound(const SearchRequest& request, const PlanPrice& least) {
  SearchWork work(request);
  const double without_norm = (least.step_time - least.norm).value;
  std::vector<std::vector<Recompute>> choices;
  for (const Recompute choice : {Recompute::none, Recompute::attention, Recompute::full}) {
    if (request.recompute.value_or(choice) == choice) choices.push_back(work.everywhere(choice));
  }
  const double bound = SpaceBound(work, choices).below(2.0 * without_norm);
  EXPECT_LE(bound, without_norm * (1.0 + 1e-9));
  return bound / without_norm;
}

/// @return share of the least price that `SpaceBound` proves, if there is a plan
std::optional<double> expect_best(const Counted& counted, std::optional<std::int64_t> limit,
                                  int& mixed) {
  const PricedCandidate* best = nullptr;
  for (const PricedCandidate& candidate : counted.plans) {
    if (limit && candidate.arena > *limit) continue;
    if (best == nullptr || candidate.price < best->price) best = &candidate;
  }
  SearchRequest request = request_of(counted.problem);
  if (limit) request.memory_limit = Bytes{*limit};
  const SearchResult found = search(request);
  EXPECT_EQ(found.plan.has_value(), best != nullptr);
  if (best == nullptr || !found.plan) {
    EXPECT_TRUE(found.least_memory.has_value());
    EXPECT_GT(found.least_memory.value_or(Bytes{0}), Bytes{*limit});
    return std::nullopt;
  }
  const double slack = 1e-9 * best->price;
  EXPECT_NEAR(found.price.step_time.value, best->price, slack);
  EXPECT_LE(found.lower_bound, best->price + slack);
  const std::int64_t microbatch = counted.problem.global_batch / found.plan->num_microbatches;
  const Graph graph = counted.problem.graph_of(microbatch, found.plan->recompute);
  EXPECT_NO_THROW(validate(*found.plan, graph));
  const PlanPrice priced = price(graph, *found.plan, counted.problem.cluster, no_workspace);
  EXPECT_NEAR(priced.step_time.value, found.price.step_time.value, slack);
  for (const StageMemory& stage : stage_memory(graph, *found.plan, no_workspace)) {
    EXPECT_LE(stage.arena.value, limit.value_or(stage.arena.value));
  }
  const auto& again = found.plan->recompute;
  mixed += std::adjacent_find(again.begin(), again.end(), std::not_equal_to<>()) != again.end();
  for (const Operator& op : graph.operators) {
    if (op.copy_of.valid()) continue;
    const auto s = static_cast<std::size_t>(stage_of_layer(*found.plan, op.layer));
    const StagePlan& stage = found.plan->stages[s];
    const auto allowed = counted.problem.allowed(op, stage.mesh);
    EXPECT_NE(std::find(allowed.begin(), allowed.end(), stage.strategies.at(op.name)),
              allowed.end());
  }
  return share_of_bound(request, priced);
}

TEST(Enumeration, SearchFindsTheBestOfAllPlans) {
  std::size_t plans = 0;
  int pipelines = 0;
  int limited = 0;
  int mixed = 0;  // best plans, some of whose layers are computed again
  double shares = 0.0;
  int bounds = 0;
  const int problems = num_problems(40);
  for (int i = 0; i < problems && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE("problem " + std::to_string(i));
    const Counted counted = counted_problem(static_cast<std::uint64_t>(i));
    ASSERT_FALSE(counted.plans.empty());
    plans += counted.plans.size();
    const auto check = [&](std::optional<std::int64_t> memory) {
      const auto share = expect_best(counted, memory, mixed);
      shares += share.value_or(0.0);
      bounds += share ? 1 : 0;
    };
    check(std::nullopt);
    std::vector<std::int64_t> arenas;
    for (const PricedCandidate& candidate : counted.plans) arenas.push_back(candidate.arena);
    std::sort(arenas.begin(), arenas.end());
    const auto place = static_cast<std::size_t>(i) % 5;  // of the memory limit among the arenas
    const std::int64_t limit = place == 4 ? arenas.front() - 64 : arenas[arenas.size() * place / 4];
    SCOPED_TRACE("memory limit " + std::to_string(limit));
    check(limit);
    ++limited;
    for (const PricedCandidate& candidate : counted.plans) {
      if (candidate.plan.stages.size() > 1) {
        ++pipelines;
        break;
      }
    }
  }
  std::cout << problems << " problems (" << pipelines << " with pipelines), " << limited
            << " of them again under a memory limit, " << mixed
            << " times with some layers computed again, " << plans
            << " plans priced; bounds of large "
            << "spaces come to " << shares / bounds << " of the least price\n";
  EXPECT_GT(mixed, 0);
  EXPECT_GT(shares, 0.5 * bounds);
}

}  // namespace
}  // namespace alpa::enumeration
