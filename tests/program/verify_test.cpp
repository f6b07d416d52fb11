#include "alpa/program/verify.hpp"

#include <chrono>

#include <gtest/gtest.h>

#include "program/random_programs.hpp"

namespace alpa {
namespace {

using RandomPlan = Plan (*)(const law::Case&, int, std::mt19937_64&);

void expect_clean(const ModelConfig& model, int worlds, std::uint64_t seed,
                  RandomPlan random_plan = law::random_plan) {
  const law::Case test = case_of(model);
  std::mt19937_64 random(seed);
  double seconds = 0;
  for (int i = 0; i < worlds; ++i) {
    const int world = 1 + i % 8;
    const Plan plan = random_plan(test, world, random);
    const WorldPrograms programs = lower_all(test, plan);
    const auto begin = std::chrono::steady_clock::now();
    const auto step = verify(programs.step);
    const auto evaluate = verify(programs.evaluate);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    ASSERT_TRUE(step.empty()) << "plan " << i << " step\n" << joined(step);
    ASSERT_TRUE(evaluate.empty()) << "plan " << i << " evaluate\n" << joined(evaluate);
    if (world == 1) {
      EXPECT_TRUE(verify(programs.step.front()).empty());
    }
  }
  std::printf("%d plans, %.1f ms each to verify\n", worlds, 1e3 * seconds / worlds);
}

TEST(Verify, FindsNothingInMlpPrograms) { expect_clean(mlp_model(), 120, 1); }
TEST(Verify, FindsNothingInGptPrograms) { expect_clean(gpt_model(2), 10, 2); }
TEST(Verify, FindsNothingInInterleavedPrograms) {
  expect_clean(mlp_model(), 60, 3, law::random_interleaved_plan);
  expect_clean(gpt_model(6), 8, 4, law::random_interleaved_plan);
}
TEST(Verify, FindsNothingInZeroBubblePrograms) {
  expect_clean(mlp_model(), 60, 5, law::random_zero_bubble_plan);
  expect_clean(gpt_model(3), 8, 6, law::random_zero_bubble_plan);
}

/// The whole [2, 4] f64 is put together from its left and its right columns, then read.
class Columns : public testing::Test {
 protected:
  Columns() {
    const Shape full{2, 4};
    left_ = add_state("left", {{0, 0}, {2, 2}}, full);
    right_ = add_state("right", {{0, 2}, {2, 2}}, full);
    const Operand whole{add_buffer("whole", 64), {}, DType::f64, whole_box(full), full, 1};
    const Operand copy{add_buffer("copy", 64), {}, DType::f64, whole_box(full), full, 1};
    program_.step_state = add_buffer("step_state", 0);
    add("unpack left", CopyBox{}, left_, whole);
    add("unpack right", CopyBox{}, right_, whole);
    add("read", Map{MapOp::copy, {"ij"}, "ij"}, whole, copy);
    program_.calls.push_back({0, 0, {}, {}, {}});
  }

  BufferId add_buffer(const std::string& name, std::int64_t size) {
    program_.buffers.push_back({name, program_.arena, {size}, {}, -1, MemoryClass::buffers});
    program_.arena += {size};
    return {static_cast<std::int32_t>(program_.buffers.size()) - 1};
  }
  Operand add_state(const std::string& name, const Box& box, const Shape& full) {
    const Operand piece{add_buffer(name, 32), {}, DType::f64, box, full, 0};
    program_.state.push_back({name, full, DType::f64, box, piece.buffer});
    return piece;
  }
  void add(const std::string& name, const Kernel& kernel, const Operand& from, const Operand& to) {
    if (program_.segments.empty()) program_.segments.push_back({"prepare", {}});
    program_.segments[0].instructions.push_back(
        {name, RunKernel{kernel, {from}, {to}, {}, false, 0.0}, StepPhase::prepare, {}});
  }
  RunKernel& run(std::size_t i) {
    return std::get<RunKernel>(program_.segments[0].instructions[i].action);
  }

  Program program_;
  Operand left_, right_;
};

TEST_F(Columns, TogetherAreTheWhole) { EXPECT_EQ(joined(verify(program_)), ""); }

TEST_F(Columns, AloneAreNot) {
  program_.segments[0].instructions.erase(program_.segments[0].instructions.begin() + 1);
  EXPECT_EQ(
      joined(verify(program_)),
      "rank 0: call 0 (prepare, microbatch 0), instruction 1 (read): expects whole, version 1 "
      "in bytes [64:128), finds nothing\n");
}

TEST_F(Columns, TwiceAreNot) {
  run(1) = run(0);
  EXPECT_NE(joined(verify(program_)).find("finds nothing"), std::string::npos);
}

TEST_F(Columns, MayNotLieInTheWhole) {
  program_.buffers[left_.buffer.index()].offset = program_.buffers[2].offset;
  EXPECT_NE(joined(verify(program_)).find("writes bytes [64:96) of buffer whole and touches them"),
            std::string::npos);
}

TEST_F(Columns, KeepTheirPlaceInTheTensor) {
  run(1).operands[0].box.offset[1] = 1;
  EXPECT_NE(joined(verify(program_)).find("buffer right is seen as [0:2,1:3] of [2,4] here"),
            std::string::npos);
}

/// Rank 0 reduces, then sends; rank 1 receives, then reduces what it got: each waits for the other.
std::vector<Program> deadlock() {
  const std::int64_t size = 8;
  std::vector<Program> programs(2);
  const auto add = [](Program& p, const std::string& name, StepPhase phase, auto action) {
    p.calls.push_back({static_cast<int>(p.segments.size()), 0, {}, {}, {}});
    p.segments.push_back({name, {{name, std::move(action), phase, {}}}});
  };
  for (int r = 0; r < 2; ++r) {
    Program& p = programs[static_cast<std::size_t>(r)];
    p.rank = r;
    p.world_size = 2;
    p.groups = {{0, 1}};
    p.arena = {size};
    p.buffers = {{"x", {}, {size}, {}, -1, MemoryClass::buffers},
                 {"step_state", {}, {}, {}, -1, MemoryClass::buffers}};
    p.step_state = {1};
    Collective sum;
    sum.group = {0};
    sum.dtype = DType::f64;
    sum.in = {{0}, {}, {size}, r};
    sum.out = {{0}, {}, {size}, r + 1};
    Exchange exchange;
    (r == 0 ? exchange.out : exchange.in).push_back({1 - r, {{0}, {}, {size}, 1}, "x"});
    if (r == 0) {
      p.state.push_back({"x", {1}, DType::f64, {{0}, {1}}, {0}, true, 1});
      add(p, "sum", StepPhase::prepare, sum);
    }
    add(p, "exchange", StepPhase::transfer, exchange);
    if (r == 1) add(p, "sum", StepPhase::prepare, sum);
    set_waits(p);
  }
  return programs;
}

TEST(Together, TellsWhoWaitsForWhom) {
  const auto programs = deadlock();
  for (const Program& p : programs) EXPECT_EQ(joined(verify(p)), "");
  const std::string text = joined(verify(programs));
  EXPECT_NE(text.find("stuck: rank 0, call 0 (sum, microbatch 0), instruction 0 (sum) has begun "
                      "and waits for rank 1\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("stuck: rank 0, call 1 (exchange, microbatch 0), instruction 0 (exchange) "
                      "waits for call 0 (sum, microbatch 0)\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("stuck: rank 1, call 0 (exchange, microbatch 0), instruction 0 (exchange) "
                      "has begun and waits for rank 0\n"),
            std::string::npos)
      << text;
}

TEST(Together, WantsTheProgramOfEachRank) {
  auto programs = deadlock();
  std::swap(programs[0], programs[1]);
  EXPECT_NE(joined(verify(programs)).find("its program is for rank 1 of 2, expected rank 0 of 2"),
            std::string::npos);
}

TEST(Together, ManyMistakesAreCounted) {
  auto programs = deadlock();
  programs.resize(1);
  programs[0].calls.assign(200, {9, 0, {}, {}, {}});
  const auto mistakes = verify(programs[0]);
  EXPECT_EQ(mistakes.size(), 51U);
  EXPECT_EQ(mistakes.back(), "rank 0: and 150 more mistakes");
}

}  // namespace
}  // namespace alpa
