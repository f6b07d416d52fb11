#include "alpa/inter_op/stage_dp.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include "alpa/base/random.hpp"

#include "case_file.hpp"

namespace alpa {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Instance {
  StageTable table;
  int devices;
  std::int64_t microbatches;
};

/// Calls `visit` with every list of stages that covers the layers and the devices.
void for_each_list(const StageTable& table, int devices,
                   const std::function<void(const std::vector<StageChoice>&)>& visit) {
  std::vector<StageChoice> list;
  const std::function<void(int, int)> from = [&](int first, int left) {
    if (first == table.layers && left == 0) return visit(list);
    for (int end = first + 1; end <= table.layers; ++end) {
      for (int m = 0; m < static_cast<int>(table.submesh_devices.size()); ++m) {
        const int size = table.submesh_devices[static_cast<std::size_t>(m)];
        for (int c = 0; size <= left && c < table.configs; ++c) {
          if (table.time[table.index(first, end - 1, m, c)].value == kInfinity) continue;
          list.push_back({first, end, m, c});
          from(end, left - size);
          list.pop_back();
        }
      }
    }
  };
  from(0, devices);
}

std::size_t entry_of(const StageTable& table, const StageChoice& stage) {
  return table.index(stage.begin, stage.end - 1, stage.submesh, stage.config);
}

bool memory_holds(const StageTable& table, const std::vector<StageChoice>& list) {
  for (std::size_t s = 0; s < list.size(); ++s) {
    const auto successors = static_cast<int>(list.size() - s) - 1;
    if (table.max_successors[entry_of(table, list[s])] < successors) return false;
  }
  return true;
}

/// Objective, sum, max, stages: in this order ties are broken. Added from the last stage on, as the
/// recurrence does, so that equal lists give equal bits.
using Key = std::tuple<double, double, double, std::size_t>;

Key training_key(const StageTable& table, const std::vector<StageChoice>& list,
                 std::int64_t microbatches) {
  double sum = 0.0;
  double max = 0.0;
  for (auto stage = list.rbegin(); stage != list.rend(); ++stage) {
    const double time = table.time[entry_of(table, *stage)].value;
    sum = time + sum;
    max = std::max(max, time);
  }
  return {sum + static_cast<double>(microbatches - 1) * max, sum, max, list.size()};
}

Key key_of(const StageList& list) {
  return {list.objective.value, list.sum.value, list.max.value, list.stages.size()};
}

/// Random costs of four kinds: few distinct values (ties), values that differ in the tenth digit,
/// any, and about what the layers add up to (many lists of nearly equal sums). Some candidates are
/// unavailable, some bear few successors.
Instance random_instance(std::uint64_t number) {
  std::uint64_t drawn = 0;
  const auto draw = [&](int n) { return static_cast<int>(n * uniform(7, number, drawn++)); };
  static const std::vector<std::vector<int>> submeshes = {{1, 2, 4}, {1, 2}, {4, 2, 1, 2}, {3, 1}};
  StageTable table(1 + draw(7), 1 + draw(2), submeshes[static_cast<std::size_t>(draw(4))]);
  const int kind = draw(4);
  const int missing = draw(2) * 4;
  for (std::size_t at = 0; at < table.time.size(); ++at) {
    table.max_successors[at] = draw(6) - (draw(4) == 0 ? 1 : 0);
    if (draw(10) < missing) continue;
    const double any = uniform(8, number, at);
    const auto layers = static_cast<std::size_t>(table.layers);
    const std::size_t run = at * layers * layers / table.time.size();
    const double length =
        1.0 + static_cast<double>(run % layers) - static_cast<double>(run / layers);
    const std::array<double, 4> times = {static_cast<double>(draw(5)), 1.0 + 1e-10 * draw(50), any,
                                         std::max(0.0, length) * (1.0 + 0.3 * any)};
    table.time[at] = {times[static_cast<std::size_t>(kind)]};
  }
  static constexpr std::array<std::int64_t, 5> kMicrobatches = {1, 2, 5, 64, 1000};
  const std::int64_t microbatches = kMicrobatches[static_cast<std::size_t>(draw(5))];
  return {std::move(table), 1 + draw(7), microbatches};
}

TEST(StageDp, TrainingEqualsEnumerationWithTies) {
  int feasible = 0;
  for (std::uint64_t number = 0; number < 1200; ++number) {
    const Instance instance = random_instance(number);
    const StageTable& table = instance.table;
    std::optional<Key> best;
    for_each_list(table, instance.devices, [&](const std::vector<StageChoice>& list) {
      if (!memory_holds(table, list)) return;
      const Key key = training_key(table, list, instance.microbatches);
      if (!best || key < *best) best = key;
    });
    const auto found = best_training_stages(table, instance.devices, instance.microbatches);
    ASSERT_EQ(found.has_value(), best.has_value()) << number;
    if (!found) continue;
    ++feasible;
    EXPECT_EQ(key_of(*found), *best) << number;
    EXPECT_EQ(training_key(table, found->stages, instance.microbatches), *best) << number;
    EXPECT_TRUE(memory_holds(table, found->stages)) << number;
  }
  EXPECT_GT(feasible, 500);
  EXPECT_LT(feasible, 1150);  // infeasible ones were met, too
}

TEST(StageDp, InferenceEqualsEnumeration) {
  int feasible = 0;
  for (std::uint64_t number = 0; number < 800; ++number) {
    const Instance instance = random_instance(number);
    const StageTable& table = instance.table;
    double best = kInfinity;
    for_each_list(table, instance.devices, [&](const std::vector<StageChoice>& list) {
      const double max = std::get<2>(training_key(table, list, 1));
      best = std::min(best, static_cast<double>(list.size()) * max);
    });
    const auto found = best_inference_stages(table, instance.devices);
    ASSERT_EQ(found.has_value(), best < kInfinity) << number;
    if (!found) continue;
    ++feasible;
    const auto [objective, sum, max, stages] = training_key(table, found->stages, 1);
    EXPECT_EQ(found->objective.value, best) << number;
    EXPECT_EQ(found->objective.value, static_cast<double>(stages) * max) << number;
    EXPECT_EQ(found->sum.value, sum) << number;
  }
  EXPECT_GT(feasible, 500);
}

TEST(StageDp, StagesCoverLayersAndDevicesExactly) {
  for (std::uint64_t number = 0; number < 300; ++number) {
    const Instance instance = random_instance(number);
    for (const auto& found :
         {best_training_stages(instance.table, instance.devices, instance.microbatches),
          best_inference_stages(instance.table, instance.devices)}) {
      if (!found) continue;
      int layer = 0;
      int devices = 0;
      for (const StageChoice& stage : found->stages) {
        EXPECT_EQ(stage.begin, layer) << number;
        layer = stage.end;
        devices += instance.table.submesh_devices[static_cast<std::size_t>(stage.submesh)];
      }
      EXPECT_EQ(layer, instance.table.layers) << number;
      EXPECT_EQ(devices, instance.devices) << number;
    }
  }
}

/// A candidate 1e-7 faster than the bottleneck decides when it is repeated often enough.
TEST(StageDp, CloseCandidatesAreNotSkipped) {
  StageTable table(2, 2, {1});
  for (const int layer : {0, 1}) {
    table.time[table.index(layer, layer, 0, 0)] = {1.0};
    table.time[table.index(layer, layer, 0, 1)] = {1.0 - 1e-7};
  }
  table.time[table.index(0, 0, 0, 0)] = {0.5};
  table.max_successors.assign(table.max_successors.size(), 9);
  const auto found = best_training_stages(table, 2, 1'000'000);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->stages, (std::vector<StageChoice>{{0, 1, 0, 0}, {1, 2, 0, 1}}));
  EXPECT_EQ(found->max.value, 1.0 - 1e-7);
}

/// The second least sum is worse than the least, the third is best: a pass without gain ends
/// nothing.
TEST(StageDp, GoesOnAfterAPassWithoutGain) {
  StageTable table(3, 1, {1, 2, 3});
  table.max_successors.assign(table.max_successors.size(), 9);
  table.time[table.index(0, 2, 2, 0)] = {10.0};
  table.time[table.index(0, 1, 1, 0)] = {9.9};
  for (const int layer : {0, 1}) table.time[table.index(layer, layer, 0, 0)] = {5.5};
  table.time[table.index(2, 2, 0, 0)] = {1.1};
  const auto found = best_training_stages(table, 3, 3);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->stages.size(), 3U);  // 10 + 2*10, 11 + 2*9.9, 12.1 + 2*5.5
  EXPECT_EQ(found->passes, 4);          // the last finds that nothing is faster
}

TEST(StageDp, NothingFits) {
  StageTable table(2, 1, {2});
  EXPECT_FALSE(best_training_stages(table, 4, 8));
  table.time.assign(table.time.size(), Seconds{1.0});
  EXPECT_FALSE(best_training_stages(table, 4, 8));  // negative successors: never fits
  EXPECT_TRUE(best_inference_stages(table, 4));
  EXPECT_FALSE(best_inference_stages(table, 3));  // 3 devices cannot be filled by twos
  table.max_successors[table.index(0, 0, 0, 0)] = 1;
  table.max_successors[table.index(1, 1, 0, 0)] = 0;
  EXPECT_TRUE(best_training_stages(table, 4, 8));
  EXPECT_FALSE(best_training_stages(table, 2, 8));
}

TEST(StageDpDeathTest, TimesAreNumbersNotBelowZero) {
  StageTable table(1, 1, {1});
  table.time[0] = {-1.0};
  EXPECT_DEATH((void)best_training_stages(table, 1, 1), "time.value >= 0.0");
  table.time[0] = {std::nan("")};
  EXPECT_DEATH((void)best_inference_stages(table, 1), "time.value >= 0.0");
}

/// numpy's random(): two draws of the Mersenne twister make 53 bits.
double numpy_random(std::mt19937& twister) {
  const auto high = static_cast<double>(twister() >> 5U);
  const auto low = static_cast<double>(twister() >> 6U);
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

TEST(StageDp, ReferenceOfSeed42) {
  StageTable table(8, 5, {1, 2, 4, 8});
  std::mt19937 twister(42);
  for (Seconds& time : table.time) {
    time = {static_cast<double>(static_cast<float>(numpy_random(twister)))};
  }
  table.max_successors.assign(table.max_successors.size(), 4096);
  const auto found = best_training_stages(table, 8, 16);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->objective.value, 0.295285061, 5e-10);
  ASSERT_EQ(found->stages.size(), 2U);
  for (const int s : {0, 1}) {
    const StageChoice& stage = found->stages[static_cast<std::size_t>(s)];
    EXPECT_EQ(std::tuple(stage.begin, stage.end, stage.submesh), std::tuple(4 * s, 4 * s + 4, 2));
  }
}

struct ProvenCase {
  Instance instance;
  std::optional<double> training;
  std::optional<double> inference;
};

ProvenCase parse(const CaseText& text) {
  const auto sizes = words(text.lines.at(0));
  std::vector<int> submeshes;
  for (const std::string& word : words(text.lines.at(1))) submeshes.push_back(std::stoi(word));
  EXPECT_EQ(submeshes.size(), std::stoul(sizes.at(4)));
  const auto optima = words(text.lines.at(2));
  StageTable table(std::stoi(sizes.at(0)), std::stoi(sizes.at(3)), submeshes);
  std::size_t line = 3;
  for (int i = 0; i < table.layers; ++i) {
    for (int k = i; k < table.layers; ++k) {
      std::size_t at = table.index(i, k, 0, 0);
      for (const std::string& word : words(text.lines.at(line++))) {
        if (word != "-") {
          table.time[at] = {std::stod(word)};
          table.max_successors[at] = std::stoi(word.substr(word.find(':') + 1));
        }
        ++at;
      }
      EXPECT_EQ(at, table.index(i, k + 1, 0, 0));
    }
  }
  return {{std::move(table), std::stoi(sizes.at(1)), std::stoll(sizes.at(2))},
          optimum(optima.at(0)),
          optimum(optima.at(1))};
}

void expect_optimal(const std::optional<StageList>& found, std::optional<double> proven,
                    const std::string& name) {
  ASSERT_EQ(found.has_value(), proven.has_value()) << name;
  if (!found) return;
  EXPECT_NEAR(found->objective.value, *proven, 1e-12 * *proven) << name;
}

TEST(StageDp, ProvenCases) {
  const auto cases = read_cases("stages.txt");
  EXPECT_EQ(cases.size(), 16U);
  for (const CaseText& text : cases) {
    const auto [instance, training, inference] = parse(text);
    expect_optimal(best_training_stages(instance.table, instance.devices, instance.microbatches),
                   training, text.name);
    expect_optimal(best_inference_stages(instance.table, instance.devices), inference, text.name);
  }
}

}  // namespace
}  // namespace alpa
