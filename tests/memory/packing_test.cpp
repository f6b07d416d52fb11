#include "alpa/memory/packing.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

namespace alpa {
namespace {

std::vector<Lifetime> random_lifetimes(std::size_t count, std::mt19937_64& random) {
  std::vector<Lifetime> lifetimes;
  for (std::size_t i = 0; i < count; ++i) {
    const int begin = static_cast<int>(random() % count);
    const int length = static_cast<int>(random() % (random() % 4 == 0 ? count : 6));
    const auto size = static_cast<std::int64_t>(random() % (std::uint64_t{1} << (random() % 16)));
    lifetimes.push_back({begin, begin + length, {size}});
  }
  return lifetimes;
}

std::vector<Lifetime> aligned(std::vector<Lifetime> lifetimes) {
  for (Lifetime& l : lifetimes) l.size = align_up(l.size);
  return lifetimes;
}

bool meet(const Lifetime& a, const Lifetime& b) { return a.begin <= b.end && b.begin <= a.end; }

void expect_apart(const std::vector<Lifetime>& lifetimes, const Packing& packing) {
  for (std::size_t i = 0; i < lifetimes.size(); ++i) {
    EXPECT_EQ(packing.offsets[i].value % kAlignment, 0);
    EXPECT_GE(packing.offsets[i].value, 0);
    EXPECT_LE(packing.offsets[i] + lifetimes[i].size, packing.total);
    for (std::size_t j = 0; j < i; ++j) {
      if (!meet(lifetimes[i], lifetimes[j])) continue;
      const bool before = packing.offsets[i] + lifetimes[i].size <= packing.offsets[j];
      const bool after = packing.offsets[j] + lifetimes[j].size <= packing.offsets[i];
      EXPECT_TRUE(before || after) << i << " and " << j;
    }
  }
}

TEST(Packing, WhatMeetsSharesNoBytes) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 100; ++round) {
    const auto lifetimes = random_lifetimes(1 + random() % 120, random);
    const Packing packing = pack(lifetimes);
    ASSERT_EQ(packing.offsets.size(), lifetimes.size());
    expect_apart(lifetimes, packing);
    EXPECT_GE(packing.total, live_maximum(lifetimes));
  }
}

TEST(Packing, IsCloseToTheMostThatIsInUse) {
  std::mt19937_64 random(2);
  double sum = 0;
  constexpr int kRounds = 50;
  for (int round = 0; round < kRounds; ++round) {
    const auto lifetimes = random_lifetimes(200, random);
    const double least = static_cast<double>(live_maximum(aligned(lifetimes)).value);
    const double ratio = static_cast<double>(pack(lifetimes).total.value) / least;
    EXPECT_LE(ratio, 1.2) << "round " << round;
    sum += ratio;
  }
  EXPECT_LE(sum / kRounds, 1.05);
}

TEST(Packing, ReusesWhatIsFree) {
  EXPECT_EQ(pack({{0, 1, {64}}, {2, 3, {64}}}).total.value, 64);
  EXPECT_EQ(pack({{0, 2, {64}}, {2, 3, {64}}}).total.value, 128);  // both in use at time 2
  EXPECT_EQ(pack({{0, 9, {1}}}).total.value, kAlignment);
  EXPECT_EQ(pack({}).total.value, 0);
}

TEST(Packing, LiveMaximumCountsEndsAsInUse) {
  EXPECT_EQ(live_maximum({}).value, 0);
  EXPECT_EQ(live_maximum({{0, 2, {10}}, {2, 4, {5}}, {5, 6, {12}}}).value, 15);
}

TEST(Packing, IsTheSameEveryTime) {
  std::mt19937_64 random(4);
  const auto lifetimes = random_lifetimes(150, random);
  EXPECT_EQ(pack(lifetimes).offsets, pack(lifetimes).offsets);
}

}  // namespace
}  // namespace alpa
