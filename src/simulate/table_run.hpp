#pragma once

#include <vector>

#include "alpa/simulate/price.hpp"

namespace alpa {

/// A schedule table in time.
struct TableRun {
  double makespan = 0.0;
  std::vector<double> busy;  ///< [stage] time in which it worked
};

/// See makespan().
[[nodiscard]] TableRun run_table(const Schedule& table, const std::vector<ChunkTimes>& chunks,
                                 const std::vector<StageTransfer>& transfers,
                                 const std::vector<SharedCores>& shared);

/// How much faster than measured each stage runs while those that are marked work.
[[nodiscard]] std::vector<double> speeds(const std::vector<bool>& working,
                                         const std::vector<SharedCores>& shared);

}  // namespace alpa
