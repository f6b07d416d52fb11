#include <gtest/gtest.h>

#include "law/models.hpp"

/// The law under recomputation: whatever backward computes again, the numbers are those of one rank
/// that keeps everything; what is executed grows by the copies, what is kept shrinks to borders.
namespace alpa::law {
namespace {

struct Setting {
  Preset preset = Preset::gpt;
  Method method = Method::data;
  int ranks = 1;
  Recompute recompute = Recompute::full;
  ParallelConfig parallel = {};
};

std::string name_of_setting(const Setting& s) {
  return std::string(s.preset == Preset::mlp ? "mlp_" : "gpt_") + name_of_method(s.method) + "_" +
         std::to_string(s.ranks) + "_" + std::string(name_of(s.recompute));
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const Preset preset : {Preset::mlp, Preset::gpt}) {
    for (const Recompute recompute : {Recompute::none, Recompute::attention, Recompute::full}) {
      if (preset == Preset::mlp && recompute == Recompute::attention) continue;
      for (const int ranks : {1, 2, 4}) {
        for (const Method method :
             {Method::data, Method::zero1, Method::zero2, Method::zero3, Method::intra_only,
              Method::inter_only, Method::pipedream, Method::heuristic}) {
          all.push_back({preset, method, ranks, recompute});
        }
        all.push_back({preset, Method::megatron, ranks, recompute, degrees(1, ranks, 1)});
      }
      all.push_back({preset, Method::megatron, 8, recompute, degrees(2, 2, 2)});
    }
  }
  return all;
}

const Outcome& truth_of(const TinyCase& tiny, const Case& test) {
  static Truths<TinyCase> truths;
  return truths.of(tiny, test);
}

class RecomputeLaw : public testing::TestWithParam<Setting> {};

TEST_P(RecomputeLaw, GivesTheNumbersOfOneRank) {
  const Setting& s = GetParam();
  const TinyCase tiny{s.preset, OptimizerKind::adamw, Precision::fp64, 0.5};
  Case test = case_of(tiny);
  test.steps = 6;
  const Outcome& truth = truth_of(tiny, test);
  test.shuffle_seed = static_cast<std::uint64_t>(s.ranks);
  ParallelConfig parallel = s.parallel;
  parallel.recompute = s.recompute;
  const Plan plan = plan_of(test, s.method, s.ranks, parallel);
  const Outcome found = train(test, plan);
  const Difference d = compare(truth, found);
  EXPECT_TRUE(d.initial_equal);
  EXPECT_LT(d.losses, 1e-9);
  EXPECT_LT(d.norms, 1e-9);
  EXPECT_LT(d.evaluation, 1e-9);
  EXPECT_LT(d.state, 1e-9) << d.worst_tensor;
}

INSTANTIATE_TEST_SUITE_P(All, RecomputeLaw, testing::ValuesIn(settings()),
                         [](const auto& each) { return name_of_setting(each.param); });

ParallelConfig recomputing(Recompute recompute, std::int64_t count) {
  ParallelConfig parallel = microbatches(count);
  parallel.recompute = recompute;
  return parallel;
}

// Where every device works on its part of the batch and nothing twice.
TEST(RecomputeLaw, ExecutesExactlyTheCopiesMore) {
  Case test = case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp64, 0.5});
  test.steps = 2;
  for (const Method method : {Method::data, Method::zero3, Method::pipedream}) {
    for (const Recompute recompute : {Recompute::none, Recompute::attention, Recompute::full}) {
      SCOPED_TRACE(name_of_method(method) + " " + std::string(name_of(recompute)));
      const Plan plan = plan_of(test, method, 4, recomputing(recompute, 2));
      const Graph graph = graph_of(test, plan);
      const double model = flops_per_microbatch(graph).value;
      const double again = recomputed_flops_per_microbatch(graph).value;
      EXPECT_EQ(again > 0.0, recompute != Recompute::none);
      double executed = 0.0;
      for (const Executed& rank : train(test, plan).executed) executed += rank.flops;
      EXPECT_DOUBLE_EQ(executed, test.steps * 2 * (model + again));
    }
  }
}

/// Buffers begin at multiples of 64 bytes.
Bytes align_up(Bytes size) { return {(size.value + 63) / 64 * 64}; }

Bytes stash_of(const Case& test, const Plan& plan, int rank) {
  const Program program = lower(graph_of(test, plan), plan, rank, no_workspace).step;
  return totals(program).memory[static_cast<std::size_t>(MemoryClass::stash)];
}

// A layer of which everything is computed again keeps its border input: [b t e] in the transformer
// (the first layer reads tokens), [b h] in the line of linear layers. One microbatch is in flight.
TEST(RecomputeLaw, KeepsTheBorderInputsOfWholeLayers) {
  for (const Preset preset : {Preset::gpt, Preset::mlp}) {
    const Case test = case_of({preset, OptimizerKind::adamw, Precision::fp64, 0.5});
    const std::int64_t of_sample = preset == Preset::gpt ? 4 * 8 * 8 : 16 * 8;  // bytes
    for (const Method method : {Method::data, Method::zero1, Method::zero3}) {
      for (const int ranks : {1, 2, 4}) {
        for (const int count : {1, 2}) {
          const Plan plan = plan_of(test, method, ranks, recomputing(Recompute::full, count));
          const Bytes border = align_up(Bytes{8 / count / ranks * of_sample});
          EXPECT_EQ(stash_of(test, plan, ranks - 1), border * std::int64_t{7})
              << name_of_method(method) << " " << ranks << " " << count;
        }
      }
    }
  }
}

// In flight at stage s of S under 1F1B: S - s microbatches, of each the input of the second of two
// layers. The first one's arrives, which the class of buffers counts. What is sent lives until it
// has left: two outputs, one gradient.
TEST(RecomputeLaw, KeepsTheBorderInputsOfTheStagesLayers) {
  const Case test = case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp64, 0.5});
  const Plan plan = plan_of(test, Method::pipedream, 4, recomputing(Recompute::full, 8));
  const Bytes border = align_up(Bytes{4 * 8 * 8});
  for (int s = 0; s < 4; ++s) {
    const std::int64_t sent = (s < 3 ? 2 : 0) + (s > 0 ? 1 : 0);
    EXPECT_EQ(stash_of(test, plan, s), border * (4 - s + sent)) << "stage " << s;
  }
}

TEST(RecomputeLaw, OfAttentionKeepsItsOperandsOnly) {
  const Case test = case_of({Preset::gpt, OptimizerKind::adamw, Precision::fp64, 0.5});
  const auto stash = [&](Recompute recompute) {
    return stash_of(test, plan_of(test, Method::data, 1, recomputing(recompute, 1)), 0);
  };
  const Bytes result = align_up(Bytes{8 * 4 * 8 * 8});  // [b t h d]
  const Bytes sums = align_up(Bytes{8 * 4 * 8 * 8});    // [b t h]
  EXPECT_EQ(stash(Recompute::none) - stash(Recompute::attention),
            (result + sums) * std::int64_t{8});
  EXPECT_LT(stash(Recompute::full), stash(Recompute::attention));
}

}  // namespace
}  // namespace alpa::law
