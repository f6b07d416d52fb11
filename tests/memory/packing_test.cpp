#include "alpa/memory/packing.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
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

/// The definition, looked for among all that has its place.
Packing largest_first_at_the_lowest_gap(const std::vector<Lifetime>& lifetimes) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return lifetimes[a].size > lifetimes[b].size;
  });
  Packing packing{std::vector<Bytes>(lifetimes.size()), {}};
  for (std::size_t k = 0; k < order.size(); ++k) {
    const Lifetime& wanted = lifetimes[order[k]];
    const Bytes size = align_up(wanted.size);
    const auto is_free = [&](Bytes offset) {
      return std::all_of(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k),
                         [&](std::size_t p) {
                           return !meet(lifetimes[p], wanted) ||
                                  packing.offsets[p] + align_up(lifetimes[p].size) <= offset ||
                                  packing.offsets[p] >= offset + size;
                         });
    };
    Bytes offset{0};
    for (bool found = is_free(offset); !found;) {
      Bytes next{std::numeric_limits<std::int64_t>::max()};
      for (std::size_t p = 0; p < k; ++p) {
        const Lifetime& other = lifetimes[order[p]];
        const Bytes behind = packing.offsets[order[p]] + align_up(other.size);
        if (meet(other, wanted) && behind > offset) next = std::min(next, behind);
      }
      offset = next;
      found = is_free(offset);
    }
    packing.offsets[order[k]] = offset;
    packing.total = std::max(packing.total, offset + size);
  }
  return packing;
}

TEST(Packing, EachLiesAtTheLowestGapThatIsFreeOverItsLife) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 60; ++round) {
    const auto lifetimes = random_lifetimes(1 + random() % 150, random);
    const Packing packing = pack(lifetimes), expected = largest_first_at_the_lowest_gap(lifetimes);
    EXPECT_EQ(packing.offsets, expected.offsets);
    EXPECT_EQ(packing.total, expected.total);
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
