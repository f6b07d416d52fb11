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

/// The same where no cores are shared, so that work takes as long whenever it runs: every piece of
/// it once, after what it waits for.
[[nodiscard]] TableRun run_alone(const Schedule& table, const std::vector<ChunkTimes>& chunks,
                                 const std::vector<StageTransfer>& transfers);

/// The same of 1F1B without making its table; of GPipe, if all depths are the number of
/// microbatches.
/// @param depth [stage] of its warm-up, as one_f_one_b has it
[[nodiscard]] TableRun run_alone(const std::vector<int>& depth, int microbatches,
                                 const std::vector<ChunkTimes>& stages,
                                 const std::vector<StageTransfer>& transfers);

/// How much faster than measured each stage runs while those that are marked work.
[[nodiscard]] std::vector<double> speeds(const std::vector<bool>& working,
                                         const std::vector<SharedCores>& shared);

}  // namespace alpa
