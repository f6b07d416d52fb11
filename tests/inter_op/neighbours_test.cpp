#include "neighbours.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "search_models.hpp"

namespace alpa {
namespace {

std::vector<std::pair<int, int>> layers_of(const Draft& draft) {
  std::vector<std::pair<int, int>> layers;
  for (const DraftStage& stage : draft.stages) {
    layers.emplace_back(stage.first_layer, stage.last_layer);
  }
  return layers;
}

/// Of two stages of a model with 8 layers, each on a device.
std::vector<Draft> neighbours_on(int devices) {
  const SearchRequest request =
      search_tests::request_of(search_tests::mlp(8, 16), search_tests::cluster(1, devices), 8);
  SearchWork work(request);
  const DeviceMesh one{{1}};
  const Draft draft{4, PipelineKind::one_f_one_b, {2, 1}, {{0, 2, 0, one}, {3, 7, 1, one}}};
  return neighbours(work, draft);
}

TEST(Neighbours, StagesAreAddedOnIdleDevices) {
  const auto has = [](const std::vector<Draft>& all, std::vector<std::pair<int, int>> layers) {
    return std::any_of(all.begin(), all.end(),
                       [&](const Draft& draft) { return layers_of(draft) == layers; });
  };
  const std::vector<Draft> with_room = neighbours_on(3);
  EXPECT_TRUE(has(with_room, {{0, 2}, {3, 5}, {6, 7}}));
  EXPECT_TRUE(has(with_room, {{0, 1}, {2, 2}, {3, 7}}));
  for (const Draft& draft : with_room) {
    ASSERT_LE(draft.stages.size(), 3U);
    EXPECT_LE(draft.stages.back().first_device, 2);
    EXPECT_EQ(draft.stages.back().last_layer, 7);
  }
  for (const Draft& draft : neighbours_on(2)) EXPECT_EQ(draft.stages.size(), 2U);
}

}  // namespace
}  // namespace alpa
