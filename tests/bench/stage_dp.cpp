// Times 48 stage searches of 8 layers on 16 devices: what a planner asks for one model, over
// numbers of microbatches and recomputation choices. Prints one line.
#include "alpa/inter_op/stage_dp.hpp"

#include <chrono>
#include <cstdio>
#include <vector>

#include "alpa/base/random.hpp"

namespace alpa {
namespace {

constexpr int kSearches = 48;
constexpr int kLayers = 8;
constexpr int kDevices = 16;

/// Work divided by the devices, with a loss that grows with them and some noise; memory that holds
/// fewer successors the more layers there are.
StageTable table_of(std::uint64_t number) {
  StageTable table(kLayers, 4, {1, 2, 4, 8, 16});
  for (int i = 0; i < kLayers; ++i) {
    for (int k = i; k < kLayers; ++k) {
      for (int m = 0; m < 5; ++m) {
        const int devices = table.submesh_devices[static_cast<std::size_t>(m)];
        for (int c = 0; c < table.configs; ++c) {
          const std::size_t at = table.index(i, k, m, c);
          const double share = static_cast<double>(k - i + 1) / devices;
          table.time[at] = {share * (1.0 + 0.05 * m + 0.2 * uniform(1, number, at))};
          table.max_successors[at] = static_cast<int>(8.0 / share) - 1;
        }
      }
    }
  }
  return table;
}

int run() {
  std::vector<StageTable> tables;
  for (std::uint64_t number = 0; number < kSearches; ++number) tables.push_back(table_of(number));
  int passes = 0;
  double total = 0.0;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t number = 0; number < tables.size(); ++number) {
    const auto found = best_training_stages(tables[number], kDevices, 8LL << (number % 6));
    if (!found) return 1;
    passes += found->passes;
    total += found->objective.value;
  }
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  std::printf(
      "%d searches of %d layers on %d devices: %.2f ms, %d passes, objectives add up to %.6f\n",
      kSearches, kLayers, kDevices, time.count(), passes, total);
  return 0;
}

}  // namespace
}  // namespace alpa

int main() { return alpa::run(); }
