#include "alpa/simulate/simulate.hpp"

#include <map>

#include <gtest/gtest.h>

#include "alpa/lowering/lower.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/methods.hpp"
#include "alpa/simulate/price.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kBatch = 16;

GraphOfMicrobatch mlp() {
  return [](std::int64_t microbatch) {
    ModelConfig model = preset_defaults(Preset::mlp);
    MlpConfig shape;
    shape.layers = 7;
    shape.hidden = 8;
    model.shape = shape;
    ModelOptions options;
    options.microbatch = microbatch;
    return build_graph(model, OptimizerConfig{}, options);
  };
}

/// A plan by hand with the step programs of all its ranks.
struct Lowered {
  Plan plan;
  Graph graph;
  std::vector<Program> programs;
};

Lowered lowered(Method method, int ranks, std::int64_t microbatches,
                PipelineSchedule schedule = PipelineSchedule::automatic) {
  MethodRequest request;
  request.parallel.method = method;
  request.parallel.schedule = schedule;
  request.parallel.microbatches = microbatches;
  request.world_size = ranks;
  request.global_batch = kBatch;
  Lowered all{plan_by_method(request, mlp()), mlp()(kBatch / microbatches), {}};
  for (int r = 0; r < ranks; ++r) {
    all.programs.push_back(lower(all.graph, all.plan, r, no_workspace).step);
  }
  return all;
}

/// Every forward segment takes `forward`, every backward segment `backward`; all else is free.
InstructionCosts even_costs(const std::vector<Program>& programs, double forward, double backward) {
  auto share = std::make_shared<std::map<const RunKernel*, double>>();
  for (const Program& program : programs) {
    for (const Segment& segment : program.segments) {
      for (const Instruction& i : segment.instructions) {
        const auto* run = std::get_if<RunKernel>(&i.action);
        if (run == nullptr) continue;
        const double whole = i.phase == StepPhase::forward    ? forward
                             : i.phase == StepPhase::backward ? backward
                                                              : 0.0;
        (*share)[run] = whole / static_cast<double>(segment.instructions.size());
      }
    }
  }
  return {[share](const RunKernel& run, int) { return Seconds{share->at(&run)}; },
          [](const Collective&, const Program&) { return Seconds{0}; },
          [](Bytes, int, int) { return Seconds{0}; }};
}

/// Closed form of both schedules with equal stages and free messages: (B + S - 1)(f + b).
TEST(Simulate, AgreesWithTheClosedFormOfPipelines) {
  for (const auto schedule :
       {PipelineSchedule::gpipe, PipelineSchedule::one_forward_one_backward}) {
    for (const int stages : {1, 2, 4, 8}) {
      for (const int microbatches : {1, 4, 16}) {
        const auto programs = lowered(Method::pipedream, stages, microbatches, schedule).programs;
        const Timeline t = simulate(programs, even_costs(programs, 1.0, 2.0));
        EXPECT_NEAR(t.makespan.value, 3.0 * (microbatches + stages - 1), 1e-9)
            << stages << " stages, " << microbatches << " microbatches";
        for (const RankTime& rank : t.ranks) EXPECT_NEAR(rank.busy[0], 3.0 * microbatches, 1e-9);
      }
    }
  }
}

/// Messages of each way do not wait for those of the other: programs take what their tables take,
/// whatever the depth.
TEST(Simulate, AgreesWithTheTableOfDeeperWarmUp) {
  const int stages = 4;
  for (const std::vector<int>& warm_up :
       {std::vector{4, 3, 2, 1}, {7, 5, 3, 1}, {6, 5, 3, 1}, {5, 4, 3, 1}, {6, 4, 2, 1}}) {
    auto [plan, graph, programs] = lowered(Method::pipedream, stages, 16);
    plan.warm_up = warm_up;
    for (int r = 0; r < stages; ++r) {
      programs[static_cast<std::size_t>(r)] = lower(graph, plan, r, no_workspace).step;
    }
    InstructionCosts costs = even_costs(programs, 1.0, 2.0);
    for (const double message : {0.1, 0.3}) {
      costs.message = [message](Bytes, int, int) { return Seconds{message}; };
      std::vector<StageTimes> times(stages);
      for (StageTimes& t : times) {
        t.forward = {1.0};
        t.backward = {2.0};
      }
      std::vector<StageTransfer> transfers;
      for (int s = 0; s + 1 < stages; ++s) {
        transfers.push_back({s, s + 1, false, {message}});
        transfers.push_back({s + 1, s, true, {message}});
      }
      const double table = makespan(PipelineKind::one_f_one_b, warm_up, 16, times, transfers).value;
      EXPECT_NEAR(simulate(programs, costs).makespan.value, table, 0.1 * message * table)
          << warm_up[0] << " " << warm_up[1] << " " << warm_up[2] << ", messages of " << message;
    }
  }
}

/// Two chunks a stage: 2B + S - 1 times that of a chunk.
TEST(Simulate, AgreesWithTheClosedFormOfInterleavedPipelines) {
  for (const int stages : {2, 4}) {
    for (const int rounds : {1, 2, 4}) {
      const int microbatches = stages * rounds;
      const auto programs =
          lowered(Method::pipedream, stages, microbatches, PipelineSchedule::interleaved).programs;
      for (const double backward : {1.0, 2.0}) {
        const Timeline t = simulate(programs, even_costs(programs, 1.0, backward));
        EXPECT_NEAR(t.makespan.value, (1.0 + backward) * (2 * microbatches + stages - 1), 1e-9)
            << stages << " stages, " << microbatches << " microbatches";
      }
    }
  }
}

ClusterSpec cluster_of(int devices) {
  ClusterSpec cluster;
  cluster.kinds.resize(1);
  cluster.kinds[0].peak_flops = {{DType::f32, 1e12}};
  cluster.kinds[0].memory_bandwidth = 1e11;
  cluster.hosts = {{0, devices, {{1e-6}, 1e10}}};
  return cluster;
}

TEST(Simulate, DataParallelPaysItsAllReducesAfterTheBackward) {
  const auto [plan, graph, programs] = lowered(Method::data, 4, 1);
  const InstructionCosts costs = costs_on(cluster_of(4), graph, plan);
  double collectives = 0.0;
  double kernels = 0.0;
  for (const Call& call : programs[0].calls) {
    const auto& segment = programs[0].segments[static_cast<std::size_t>(call.segment)];
    for (const Instruction& i : segment.instructions) {
      if (const auto* run = std::get_if<RunKernel>(&i.action))
        kernels += costs.kernel(*run, 0).value;
      if (const auto* c = std::get_if<Collective>(&i.action)) {
        collectives += costs.collective(*c, programs[0]).value;
      }
    }
  }
  const Timeline t = simulate(programs, costs);
  EXPECT_GT(collectives, 0.0);
  EXPECT_NEAR(t.ranks[0].busy[0], kernels, 1e-12);
  EXPECT_NEAR(t.ranks[0].busy[1], collectives, 1e-12);
  EXPECT_LE(t.makespan.value, kernels + collectives + 1e-12);
  EXPECT_GE(t.makespan.value, std::max(kernels, collectives));
}

TEST(Simulate, SpansOfAQueueDoNotOverlapAndMessagesTakeTime) {
  const auto [plan, graph, programs] = lowered(Method::pipedream, 4, 4);
  InstructionCosts costs = costs_on(cluster_of(4), graph, plan);
  const Timeline t = simulate(programs, costs, true);
  std::map<std::pair<int, int>, double> last;
  for (const Span& span : t.spans) {
    double& end = last[{span.rank, span.queue}];
    EXPECT_GE(span.begin, end);
    end = span.end;
    EXPECT_LE(span.end, t.makespan.value);
  }
  costs.message = [](Bytes, int, int) { return Seconds{0}; };
  EXPECT_GT(t.makespan.value, simulate(programs, costs).makespan.value);
}

}  // namespace
}  // namespace alpa
