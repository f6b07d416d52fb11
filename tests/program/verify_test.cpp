#include "alpa/program/verify.hpp"

#include <chrono>

#include <gtest/gtest.h>

#include "program/random_programs.hpp"

namespace alpa {
namespace {

void expect_clean(const ModelConfig& model, int worlds, std::uint64_t seed) {
  const law::Case test = case_of(model);
  std::mt19937_64 random(seed);
  double seconds = 0;
  for (int i = 0; i < worlds; ++i) {
    const int world = 1 + i % 8;
    const Plan plan = law::random_plan(test, world, random);
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
TEST(Verify, FindsNothingInGptPrograms) { expect_clean(gpt_model(3), 40, 2); }

}  // namespace
}  // namespace alpa
