#include "class_path.hpp"

#include <numeric>

#include <gtest/gtest.h>

namespace alpa {
namespace {

constexpr std::int64_t kState = 100;

/// Forward seconds and stash of layers, as some line chooses for them.
LineAnswer answer_of(const std::vector<double>& seconds, const std::vector<std::int64_t>& stashes,
                     Recompute recompute) {
  std::vector<StageFigures> by_layer;
  for (std::size_t l = 0; l < seconds.size(); ++l) {
    StageFigures layer;
    layer.times.forward = {seconds[l]};
    layer.state = {kState};
    layer.stash = {stashes[l]};
    by_layer.push_back(layer);
  }
  const int last = static_cast<int>(seconds.size()) - 1;
  return {LayerTable(by_layer),
          {{0, last, nullptr, recompute}},
          std::vector<Recompute>(seconds.size(), recompute)};
}

TEST(ClassPath, GoesOverWhereAByteSavedCostsLeastFirst) {
  const std::vector<int> classes{0, 1, 0, 1, 2};
  const LineAnswer large = answer_of({1, 1, 1, 1, 1}, {20, 20, 20, 20, 20}, Recompute::none);
  // Of class 0 a second saves 10 bytes, of class 1 it saves 40, of class 2 it saves 20.
  const LineAnswer small =
      answer_of({2, 1.25, 2, 1.25, 1.5}, {10, 10, 10, 10, 10}, Recompute::full);
  const auto path = class_path(large, small, classes, 1, 1);
  ASSERT_EQ(path.size(), 2U);
  const std::vector<std::vector<int>> over{{1}, {1, 2}};
  for (std::size_t k = 0; k < path.size(); ++k) {
    SCOPED_TRACE(k);
    double seconds = 0.0;
    int next = 0;
    for (const ChosenLayers& part : path[k].parts) {
      EXPECT_EQ(part.first, next);
      next = part.last + 1;
      for (int l = part.first; l <= part.last; ++l) {
        const auto at = static_cast<std::size_t>(l);
        const bool follows =
            std::find(over[k].begin(), over[k].end(), classes[at]) != over[k].end();
        EXPECT_EQ(part.recompute, follows ? Recompute::full : Recompute::none) << "layer " << l;
        EXPECT_EQ(path[k].recompute[at], part.recompute) << "layer " << l;
        const LineAnswer& of = follows ? small : large;
        EXPECT_EQ(path[k].table.of(l, l), of.table.of(l, l)) << "layer " << l;
        seconds += of.table.of(l, l).times.forward.value;
      }
    }
    EXPECT_EQ(next, 5);
    EXPECT_DOUBLE_EQ(path[k].table.of(0, 4).times.forward.value, seconds);
  }
}

TEST(ClassPath, HasNoStepsForClassesThatSaveNextToNothing) {
  const LineAnswer large = answer_of({1, 1, 1, 1}, {20, 2000, 2000, 10}, Recompute::none);
  const LineAnswer small = answer_of({2, 2, 2, 2}, {10, 1000, 1000, 5}, Recompute::full);
  EXPECT_TRUE(class_path(large, small, {0, 1, 1, 2}, 4, 2).empty());
  EXPECT_EQ(class_path(large, small, {0, 1, 2, 3}, 4, 2).size(), 1U);
}

}  // namespace
}  // namespace alpa
