#include <gtest/gtest.h>

#include "collective_times.hpp"

namespace alpa::probe_detail {
namespace {

std::vector<std::vector<std::vector<int>>> groups_on(const std::vector<int>& hosts) {
  std::vector<std::vector<std::vector<int>>> all;
  for (const Grouping& grouping : groupings(hosts)) {
    for (const auto& group : grouping.groups) {
      EXPECT_EQ(std::ssize(group), grouping.ranks);
    }
    all.push_back(grouping.groups);
  }
  return all;
}

using Groups = std::vector<std::vector<std::vector<int>>>;

TEST(Groupings, OfOneHost) {
  EXPECT_EQ(groups_on({1}), Groups());
  EXPECT_EQ(groups_on({2}), (Groups{{{0, 1}}}));
  EXPECT_EQ(groups_on({4}), (Groups{{{0, 1}, {2, 3}}, {{0, 1, 2, 3}}}));
}

TEST(Groupings, OfTwoHosts) {
  EXPECT_EQ(groups_on({1, 1}), (Groups{{{0, 1}}}));
  EXPECT_EQ(groups_on({2, 2}), (Groups{{{0, 1}, {2, 3}}, {{0, 2}, {1, 3}}, {{0, 1, 2, 3}}}));
}

TEST(Groupings, OfUnequalHosts) {
  EXPECT_EQ(groups_on({2, 1, 1}), (Groups{{{0, 1}}, {{0, 2}}, {{0, 2, 3}}, {{0, 1, 2, 3}}}));
}

}  // namespace
}  // namespace alpa::probe_detail
