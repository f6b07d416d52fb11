#include "alpa/lowering/border.hpp"

#include <algorithm>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include "alpa/lowering/lower.hpp"

#include "law/models.hpp"

namespace alpa {
namespace {

using Message = std::tuple<int, int, int, int, Phase, std::int64_t>;

std::vector<Message> sorted(const std::vector<StageMessage>& messages) {
  std::vector<Message> all;
  for (const StageMessage& m : messages) {
    all.emplace_back(m.from_stage, m.to_stage, m.from_rank, m.to_rank, m.phase, m.size.value);
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// Bytes that a program packs messages into and unpacks them from, in lines of 64.
Bytes staging_of(const Program& program) {
  Bytes all{0};
  for (const Buffer& buffer : program.buffers) {
    const bool staging = buffer.name.starts_with("send ") || buffer.name.starts_with("receive ");
    if (!staging) continue;
    const auto family = static_cast<std::size_t>(buffer.family);
    const std::int64_t slots = buffer.family < 0 ? 1 : program.family_slots[family];
    all += {slots * ((buffer.size.value + 63) / 64 * 64)};
  }
  return all;
}

// Two strategies for each tensor that crosses say what the whole plan says.
TEST(Border, MessagesAreThoseOfThePlansPrograms) {
  std::mt19937_64 random(5);
  int pipelines = 0;
  int staged = 0;
  for (const Preset preset : {Preset::mlp, Preset::gpt, Preset::moe, Preset::wide_resnet}) {
    const law::Case test = law::case_of({preset, OptimizerKind::adamw, Precision::bf16, 0.5});
    for (int i = 0; i < 12; ++i) {
      SCOPED_TRACE(law::name_in_files(preset) + " plan " + std::to_string(i));
      const Plan plan = law::random_plan(test, 2 + static_cast<int>(random() % 6), random);
      const Graph graph = law::graph_of(test, plan);
      std::vector<StageSide> sides;
      for (const StagePlan& stage : plan.stages) sides.push_back(side_of(stage, graph));
      const CrossTraffic found = cross_traffic(
          graph, cross_tensors(graph), sides, {plan.schedule, plan.warm_up, plan.num_microbatches});
      EXPECT_EQ(sorted(found.messages), sorted(traffic(PlacedPlan(graph, plan))));
      pipelines += plan.stages.size() > 1 ? 1 : 0;
      for (std::size_t s = 0; s < plan.stages.size(); ++s) {
        const int last = plan.stages[s].ranks.back();
        const Bytes truth = staging_of(
            count_steps(PlacedPlan(graph, plan), {last}, no_workspace, false)->front().program);
        EXPECT_EQ(found.staging[s], truth);
        staged += truth > Bytes{0} ? 1 : 0;
      }
    }
  }
  EXPECT_GT(pipelines, 20);
  EXPECT_GT(staged, 5);
}

}  // namespace
}  // namespace alpa
