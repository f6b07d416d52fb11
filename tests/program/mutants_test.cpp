#include <gtest/gtest.h>

#include "alpa/program/verify.hpp"

#include "program/mutations.hpp"
#include "program/random_programs.hpp"

namespace alpa {
namespace {

std::vector<Mutation> all_mutations() {
  std::vector<Mutation> all;
  for (const auto& some : {instruction_mutations(), communication_mutations(), memory_mutations(),
                           call_mutations(), wait_mutations()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

using RandomPlan = Plan (*)(const law::Case&, int, std::mt19937_64&);

/// Steps under random plans, on 1 to 8 ranks.
std::vector<std::vector<Program>> good_programs(const ModelConfig& model, int count,
                                                std::uint64_t seed,
                                                RandomPlan random_plan = law::random_plan) {
  const law::Case test = case_of(model);
  std::mt19937_64 random(seed);
  std::vector<std::vector<Program>> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(lower_all(test, random_plan(test, 1 + (i * 3 + 3) % 8, random)).step);
  }
  return all;
}

struct Counts {
  int rejected = 0, accepted = 0, harmless = 0;
  Counts& operator+=(const Counts& other) {
    rejected += other.rejected;
    accepted += other.accepted;
    harmless += other.harmless;
    return *this;
  }
};

Counts try_mutation(const Mutation& mutation, const std::vector<Program>& good, int tries,
                    std::mt19937_64& random) {
  Counts counts;
  for (int i = 0; i < tries; ++i) {
    std::vector<Program> mutant = good;
    const Outcome outcome = mutation.apply(mutant, random);
    if (outcome == Outcome::none_here) break;
    if (outcome == Outcome::harmless)
      ++counts.harmless;
    else
      ++(verify(mutant).empty() ? counts.accepted : counts.rejected);
  }
  return counts;
}

TEST(Mutants, AreAllRejected) {
  auto bases = good_programs(mlp_model(), 16, 11);
  for (const auto& some : {good_programs(gpt_model(2), 4, 12),
                           good_programs(mlp_model(), 4, 13, law::random_interleaved_plan),
                           good_programs(mlp_model(), 4, 14, law::random_zero_bubble_plan)}) {
    bases.insert(bases.end(), some.begin(), some.end());
  }
  for (const auto& good : bases) ASSERT_EQ(joined(verify(good)), "");
  std::mt19937_64 random(1);
  Counts all;
  std::printf("%-40s %8s %8s %8s\n", "mutation", "rejected", "accepted", "harmless");
  for (const Mutation& mutation : all_mutations()) {
    Counts sum;
    for (const auto& good : bases) sum += try_mutation(mutation, good, 2, random);
    std::printf("%-40s %8d %8d %8d\n", mutation.name.c_str(), sum.rejected, sum.accepted,
                sum.harmless);
    EXPECT_EQ(sum.accepted, 0) << mutation.name;
    EXPECT_GT(sum.rejected, 0) << mutation.name << " was never tried";
    all += sum;
  }
  std::printf("%-40s %8d %8d %8d\n", "in all", all.rejected, all.accepted, all.harmless);
  EXPECT_GE(all.rejected, 500);
}

}  // namespace
}  // namespace alpa
