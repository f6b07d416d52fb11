#include "alpa/lowering/lower.hpp"

#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "law/models.hpp"

namespace alpa {
namespace {

law::Case model(Preset preset) {
  return law::case_of({preset, OptimizerKind::adamw, Precision::fp32, 0.5});
}

std::vector<RankPrograms> lower_all(const law::Case& test, const Plan& plan) {
  const Graph graph = law::graph_of(test, plan);
  std::vector<RankPrograms> all;
  for (int rank = 0; rank < plan.world_size; ++rank) {
    all.push_back(lower(graph, plan, rank, no_workspace));
  }
  return all;
}

/// Calls f(case, plan) for random plans of both models, some of them interleaved or zero-bubble.
template <class F>
void for_random_plans(int count, const F& f) {
  std::mt19937_64 random(21);
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    const law::Case test = model(preset);
    for (int i = 0; i < count; ++i) {
      const int world = 1 + static_cast<int>(random() % 8);
      f(test, i % 4 == 2   ? random_interleaved_plan(test, world, random)
              : i % 4 == 3 ? random_zero_bubble_plan(test, world, random)
                           : random_plan(test, world, random));
    }
  }
}

TEST(Lower, TheSamePlanGivesTheSamePrograms) {
  for_random_plans(5, [](const law::Case& test, const Plan& plan) {
    const auto once = lower_all(test, plan);
    const auto again = lower_all(test, plan);
    for (std::size_t r = 0; r < once.size(); ++r) {
      EXPECT_EQ(to_text(once[r].step), to_text(again[r].step));
      EXPECT_EQ(to_text(once[r].evaluate), to_text(again[r].evaluate));
    }
  });
}

TEST(Lower, BothProgramsHaveOneArenaAndParametersAtEqualOffsets) {
  for_random_plans(8, [](const law::Case& test, const Plan& plan) {
    for (const RankPrograms& rank : lower_all(test, plan)) {
      EXPECT_EQ(rank.step.arena, rank.evaluate.arena);
      ASSERT_EQ(rank.step.state.size(), rank.evaluate.state.size());
      for (std::size_t i = 0; i < rank.step.state.size(); ++i) {
        const StateEntry& a = rank.step.state[i];
        const StateEntry& b = rank.evaluate.state[i];
        EXPECT_EQ(a.tensor, b.tensor);
        EXPECT_EQ(a.box, b.box);
        EXPECT_EQ(rank.step.buffer(a.buffer).offset, rank.evaluate.buffer(b.buffer).offset);
      }
    }
  });
}

TEST(Lower, BuffersLieInTheArena) {
  for_random_plans(8, [](const law::Case& test, const Plan& plan) {
    for (const RankPrograms& rank : lower_all(test, plan)) {
      for (const Program* program : {&rank.step, &rank.evaluate}) {
        for (const Buffer& b : program->buffers) {
          const int slots =
              b.family < 0 ? 1 : program->family_slots[static_cast<std::size_t>(b.family)];
          EXPECT_LE(b.offset + b.stride * (slots - 1) + b.size, program->arena) << b.name;
        }
      }
    }
  });
}

// A checkpoint has each element once: the owners' pieces tile every parameter and optimizer state.
TEST(Lower, EveryElementOfTheStateHasOneOwner) {
  for_random_plans(10, [](const law::Case& test, const Plan& plan) {
    std::map<std::string, std::vector<int>> owners;
    for (const RankPrograms& rank : lower_all(test, plan)) {
      for (const StateEntry& entry : rank.step.state) {
        auto& count = owners[entry.tensor];
        count.resize(static_cast<std::size_t>(num_elements(entry.shape)), 0);
        if (!entry.owner) continue;
        std::vector<std::int64_t> at = entry.box.offset;
        for (std::int64_t i = 0; i < num_elements(entry.box.extent); ++i) {
          std::int64_t global = 0;
          for (std::size_t d = 0; d < at.size(); ++d) global = global * entry.shape[d] + at[d];
          ++count[static_cast<std::size_t>(global)];
          for (std::size_t d = at.size(); d-- > 0;) {
            if (++at[d] < entry.box.offset[d] + entry.box.extent[d]) break;
            at[d] = entry.box.offset[d];
          }
        }
      }
    }
    const Graph graph = law::graph_of(test, plan);
    for (const Role role : {Role::parameter, Role::optimizer_state}) {
      for (const TensorId t : tensors_with(graph, role)) {
        const auto& count = owners[graph.tensor(t).name];
        EXPECT_FALSE(count.empty()) << graph.tensor(t).name;
        EXPECT_TRUE(std::all_of(count.begin(), count.end(), [](int n) { return n == 1; }))
            << graph.tensor(t).name;
      }
    }
  });
}

// What is kept from forward to backward has a slot for each microbatch in flight, and no more.
TEST(Lower, StashHasTheSlotsOfTheSchedule) {
  constexpr int kStages = 4;
  constexpr int kMicrobatches = 8;
  for (const auto schedule : {PipelineSchedule::gpipe, PipelineSchedule::one_forward_one_backward,
                              PipelineSchedule::interleaved, PipelineSchedule::zero_bubble}) {
    ParallelConfig parallel = law::microbatches(kMicrobatches);
    parallel.schedule = schedule;
    const law::Case test = model(Preset::gpt);
    const Plan plan = law::plan_of(test, Method::pipedream, kStages, parallel);
    const auto ranks = lower_all(test, plan);
    for (int s = 0; s < kStages; ++s) {
      const Program& program = ranks[static_cast<std::size_t>(s)].step;
      int most = 0;
      for (const Buffer& b : program.buffers) {
        if (b.memory_class != MemoryClass::stash || b.family < 0) continue;
        most = std::max(most, program.family_slots[static_cast<std::size_t>(b.family)]);
      }
      // The first of interleaved chunks holds most: a group of S more than the last.
      const int expected = schedule == PipelineSchedule::gpipe         ? kMicrobatches
                           : schedule == PipelineSchedule::zero_bubble ? kStages
                           : schedule == PipelineSchedule::interleaved
                               ? kStages + std::min(kStages, 2 * (kStages - s) - 1)
                               : kStages - s;
      EXPECT_EQ(most, expected) << to_string(plan.schedule) << " stage " << s;
    }
  }
}

TEST(Lower, AnIdleRankTakesPartInTheWorldsReductionOnly) {
  const law::Case test = model(Preset::mlp);
  Plan plan = law::plan_of(test, Method::pipedream, 2);
  plan.world_size = 3;
  const auto ranks = lower_all(test, plan);
  const ProgramTotals idle = totals(ranks[2].step);
  EXPECT_EQ(idle.flops, 0.0);
  ASSERT_EQ(idle.counts.size(), 1U);
  EXPECT_EQ(idle.counts[0].first, "all_reduce");
  EXPECT_EQ(idle.counts[0].second, 1);
  EXPECT_TRUE(ranks[2].step.state.empty());
  EXPECT_TRUE(ranks[2].step.inputs.empty());
}

// Every message has its other end: the same value, the same bytes, as often.
TEST(Lower, MessagesPairUp) {
  for_random_plans(10, [](const law::Case& test, const Plan& plan) {
    std::map<std::tuple<int, int, std::string, std::int64_t>, int> sent, received;
    const auto ranks = lower_all(test, plan);
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      const int me = static_cast<int>(r);
      for (const Call& call : ranks[r].step.calls) {
        const auto& segment = ranks[r].step.segments[static_cast<std::size_t>(call.segment)];
        for (const Instruction& i : segment.instructions) {
          const auto* exchange = std::get_if<Exchange>(&i.action);
          if (exchange == nullptr) continue;
          for (const Message& m : exchange->out) {
            ++sent[{me, m.peer, m.value, m.region.size.value}];
          }
          for (const Message& m : exchange->in) {
            ++received[{m.peer, me, m.value, m.region.size.value}];
          }
        }
      }
    }
    EXPECT_EQ(sent, received);
  });
}

// A microbatch's tensors do not depend on how many there are: transient memory shrinks with it.
TEST(Lower, MoreMicrobatchesNeedLessTransientMemory) {
  const law::Case test = model(Preset::gpt);
  std::int64_t before = 0;
  for (const int count : {8, 4, 2, 1}) {
    const auto ranks =
        lower_all(test, law::plan_of(test, Method::data, 1, law::microbatches(count)));
    const auto bytes =
        totals(ranks[0].step).memory[static_cast<std::size_t>(MemoryClass::transient)].value;
    EXPECT_GE(bytes, before) << count;
    before = bytes;
  }
}

TEST(Lower, WorkspacesLieInTheArena) {
  const law::Case test = model(Preset::mlp);
  const Graph graph = test.make_graph(8);
  const Plan plan = law::plan_of(test, Method::data, 1);
  const auto scratch = [](const Kernel&, const std::vector<Operand>&, const std::vector<Operand>&) {
    return Bytes{1000};
  };
  const Program with = lower(graph, plan, 0, scratch).step;
  const Program without = lower(graph, plan, 0, no_workspace).step;
  EXPECT_GT(with.arena, without.arena);
  for (const Segment& segment : with.segments) {
    for (const Instruction& i : segment.instructions) {
      const auto* run = std::get_if<RunKernel>(&i.action);
      if (run == nullptr) continue;
      ASSERT_TRUE(run->workspace.valid()) << i.name;
      EXPECT_EQ(with.buffer(run->workspace).size.value, 1000);
    }
  }
}

}  // namespace
}  // namespace alpa
