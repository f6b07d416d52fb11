#include <algorithm>

#include <gtest/gtest.h>

#include "alpa/simulate/price.hpp"

#include "schedule/reference_rows.hpp"

namespace alpa {
namespace {

std::vector<StageTimes> stages_of(const std::vector<double>& forward,
                                  const std::vector<double>& backward) {
  std::vector<StageTimes> stages(forward.size());
  for (std::size_t s = 0; s < stages.size(); ++s) {
    stages[s].forward = {forward[s]};
    stages[s].backward = {backward[s]};
  }
  return stages;
}

double f_then_b(int microbatches, const std::vector<StageTimes>& stages,
                const std::vector<StageTransfer>& transfers = {},
                const std::vector<SharedCores>& shared = {}, const std::vector<int>& depth = {}) {
  return makespan(PipelineKind::one_f_one_b, depth, microbatches, stages, transfers, shared).value;
}

TEST(Makespan, IsThatOfTheReferenceCases) {
  int rows = 0;
  int uneven = 0;
  for (const test::ScheduleRow& row : test::kScheduleRows) {
    if (row.schedule != "gpipe" && row.schedule != "1f1b") continue;
    const auto kind = row.schedule == "gpipe" ? PipelineKind::gpipe : PipelineKind::one_f_one_b;
    const Seconds time =
        makespan(kind, {}, row.microbatches, stages_of(row.forward, row.backward), {});
    EXPECT_NEAR(time.value, row.makespan, 1e-9 * row.makespan)
        << row.schedule << " " << row.forward.size() << " stages, " << row.microbatches;
    ++rows;
    uneven += row.forward != std::vector<double>(row.forward.size(), row.forward[0]) ? 1 : 0;
  }
  EXPECT_GE(rows, 7);
  EXPECT_GE(uneven, 2);
}

TEST(Makespan, ATransferDelaysWhatReadsIt) {
  const auto stages = stages_of({1, 1}, {2, 2});
  EXPECT_DOUBLE_EQ(f_then_b(1, stages, {{0, 1, false, {0.5}}, {1, 0, true, {0.25}}}), 6.75);
}

/// Two tensors of a microbatch from 0 to 1 go one after the other, one to 2 beside them.
TEST(Makespan, TransfersOfAPairTakeTurnsAndPairsDoNot) {
  const auto stages = stages_of({1, 1, 1}, {0, 0, 0});
  EXPECT_DOUBLE_EQ(f_then_b(1, stages, {{0, 1, false, {2}}, {0, 1, false, {3}}}), 8);
  EXPECT_DOUBLE_EQ(f_then_b(1, stages, {{0, 1, false, {2}}, {0, 2, false, {3}}}), 5);
}

/// A transfer that is slower than the work sets the pace.
TEST(Makespan, TransfersOfMicrobatchesQueueUp) {
  const auto stages = stages_of({1, 1}, {0, 0});
  const Seconds time = makespan(PipelineKind::gpipe, {}, 10, stages, {{0, 1, false, {4}}});
  EXPECT_DOUBLE_EQ(time.value, 1 + 10 * 4 + 1);
}

/// Two transfers a microbatch are exposed at depth S - s, none at 2(S - s) - 1.
TEST(Makespan, ADeeperWarmUpHidesTransfers) {
  const int stages = 4;
  const int microbatches = 64;
  const auto even = stages_of(std::vector<double>(stages, 1.0), std::vector<double>(stages, 2.0));
  std::vector<StageTransfer> transfers;
  std::vector<int> deep;
  for (int s = 0; s < stages; ++s) {
    deep.push_back(2 * (stages - s) - 1);
    if (s + 1 == stages) continue;
    transfers.push_back({s, s + 1, false, {0.3}});
    transfers.push_back({s + 1, s, true, {0.3}});
  }
  const double least = 3.0 * microbatches;
  const double shallow = f_then_b(microbatches, even, transfers);
  const double deeper = f_then_b(microbatches, even, transfers, {}, deep);
  EXPECT_GT(shallow, least * 1.1);
  EXPECT_LT(deeper, least * 1.1);
}

/// Equal chunks on equal stages: the bubble of 1F1B divided by the chunks of a stage.
TEST(Makespan, OfInterleavedIsTheClosedForm) {
  for (const int stages : {1, 2, 4}) {
    for (const int chunks : {2, 3}) {
      for (const int microbatches : {stages, 4 * stages}) {
        const std::vector<ChunkTimes> each(static_cast<std::size_t>(stages * chunks),
                                           {{1}, {2}, {0}});
        const Seconds time = makespan(interleaved(stages, chunks, microbatches), each, {});
        EXPECT_DOUBLE_EQ(time.value, 3.0 * chunks * microbatches + 3.0 * (stages - 1));
      }
    }
  }
}

/// Qi et al.: B*(f + b + w) + (S-1)*(f + b - w).
TEST(Makespan, OfZeroBubbleIsTheClosedForm) {
  for (const int stages : {1, 2, 4, 8}) {
    for (const int microbatches : {stages, 3 * stages}) {
      const std::vector<ChunkTimes> each(static_cast<std::size_t>(stages), {{3}, {2}, {1}});
      const Seconds time = makespan(zero_bubble(stages, microbatches), each, {});
      EXPECT_DOUBLE_EQ(time.value, 6.0 * microbatches + 4.0 * (stages - 1));
    }
  }
}

/// One microbatch through the four chunks of two stages crosses six borders, three of them back
/// from the last stage to the first or there.
TEST(Makespan, ATransferBetweenChunksDelaysTheChunkThatReadsIt) {
  const std::vector<ChunkTimes> chunks(4, {{1}, {2}, {0}});
  std::vector<StageTransfer> transfers;
  for (int c = 0; c < 3; ++c) {
    transfers.push_back({c, c + 1, false, {0.5}});
    transfers.push_back({c + 1, c, true, {0.25}});
  }
  EXPECT_DOUBLE_EQ(makespan(interleaved(2, 2, 1), chunks, transfers).value, 12 + 1.5 + 0.75);
  EXPECT_DOUBLE_EQ(makespan(interleaved(2, 2, 1), chunks, {{2, 3, false, {5}}}).value, 12 + 5);
}

/// Transfers between two pairs of chunks of the same two stages share the way.
TEST(Makespan, ChunksOfTheSameStagesTakeTurns) {
  const std::vector<ChunkTimes> chunks(4, {{1}, {0}, {0}});
  const Schedule table = forward_only(2, 2, 2);
  EXPECT_DOUBLE_EQ(makespan(table, chunks, {{0, 1, false, {4}}}).value, 1 + 4 + 4 + 3);
  EXPECT_DOUBLE_EQ(makespan(table, chunks, {{0, 1, false, {4}}, {2, 3, false, {4}}}).value,
                   1 + 4 + 4 + 4 + 4 + 1);
}

/// Measured on half a core each, alone a stage runs twice as fast, so a pipeline of two stages on
/// one core takes the sum of the work, whatever waits for what.
TEST(Makespan, StagesOnOneCoreTakeTheSumOfTheirWork) {
  for (const int microbatches : {1, 3, 16}) {
    const auto stages = stages_of({1, 3}, {2, 5});
    const std::vector<SharedCores> one{{{0, 1}, {1, 1}, 1.0, 2}};
    const double work = microbatches * (1 + 3 + 2 + 5) / 2.0;
    EXPECT_NEAR(f_then_b(microbatches, stages, {}, one), work, 1e-9 * work);
    EXPECT_GE(f_then_b(microbatches, stages), work);
  }
}

/// Four devices on two cores: one alone has a whole core, not two.
TEST(Makespan, NoDeviceIsFasterThanAWholeCore) {
  const auto stages = stages_of({1}, {1});
  const std::vector<SharedCores> host{{{0}, {1}, 2.0, 4}};
  EXPECT_DOUBLE_EQ(f_then_b(8, stages, {}, host), 8 * 2 / 2.0);
  const std::vector<SharedCores> all{{{0}, {4}, 2.0, 4}};
  EXPECT_DOUBLE_EQ(f_then_b(8, stages, {}, all), 8 * 2);
  const std::vector<SharedCores> plenty{{{0}, {1}, 8.0, 4}};
  EXPECT_DOUBLE_EQ(f_then_b(8, stages, {}, plenty), 8 * 2);
}

/// Cores of which there are enough make no difference, though time is then followed from event to
/// event.
TEST(Makespan, EnoughCoresAreAsGoodAsNone) {
  std::vector<ChunkTimes> chunks;
  std::vector<StageTransfer> transfers;
  for (int c = 0; c < 6; ++c) {
    chunks.push_back({{1.0 + 0.3 * c}, {2.5 - 0.2 * c}, {c == 3 ? 0.0 : 0.7}});
    for (int to = c + 1; to < std::min(6, c + 3); ++to) {
      transfers.push_back({c, to, false, {0.4 * (to - c)}});
      transfers.push_back({to, c, true, {0.9 / (to - c)}});
    }
  }
  for (const Schedule& table : {gpipe(6, 7), one_f_one_b(6, 9), one_f_one_b(6, 9, most_warm_up(6)),
                                zero_bubble(6, 8), interleaved(2, 3, 8), interleaved(3, 2, 7)}) {
    SharedCores plenty{{}, {}, 1e3, 1000};
    for (int s = 0; s < table.num_stages; ++s) {
      plenty.stages.push_back(s);
      plenty.devices.push_back(1);
    }
    EXPECT_EQ(makespan(table, chunks, transfers), makespan(table, chunks, transfers, {plenty}))
        << to_text(table);
  }
}

/// 1F1B and GPipe take what their tables take, which need not be made for it.
TEST(Makespan, PipelinesTakeWhatTheirTablesTake) {
  std::vector<StageTimes> stages;
  std::vector<ChunkTimes> chunks;
  std::vector<StageTransfer> transfers;
  for (int s = 0; s < 5; ++s) {
    chunks.push_back({{1.0 + 0.3 * s}, {2.5 - 0.2 * s}, {}});
    stages.emplace_back();
    stages.back().forward = chunks.back().forward;
    stages.back().backward = chunks.back().backward;
    for (int to = s + 1; to < std::min(5, s + 3); ++to) {
      transfers.push_back({s, to, false, {0.4 * (to - s)}});
      transfers.push_back({to, s, true, {0.9 / (to - s)}});
    }
  }
  for (const int microbatches : {1, 3, 9}) {
    EXPECT_EQ(makespan(PipelineKind::gpipe, {}, microbatches, stages, transfers),
              makespan(gpipe(5, microbatches), chunks, transfers));
    for (const auto& depth : {std::vector<int>{}, std::vector{9, 6, 4, 2, 1}, most_warm_up(5)}) {
      EXPECT_EQ(makespan(PipelineKind::one_f_one_b, depth, microbatches, stages, transfers),
                makespan(one_f_one_b(5, microbatches, depth), chunks, transfers));
    }
  }
}

/// A stage on two hosts goes at the pace of the busier one.
TEST(Makespan, AStageOnTwoHostsGoesAtTheSlowerOnesPace) {
  const std::vector<SharedCores> hosts{{{0}, {1}, 1.0, 2}, {{0}, {2}, 1.0, 2}};
  EXPECT_DOUBLE_EQ(f_then_b(1, stages_of({1}, {2}), {}, hosts), 3.0);
}

}  // namespace
}  // namespace alpa
