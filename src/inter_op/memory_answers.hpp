#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"

namespace alpa {

/// Answers to questions with a limit of memory, each an integer program: solved once for runs of
/// equal layers, and once for limits between which the best choice is the same. The questions to a
/// model differ in their layers, their memory and the microbatches in flight alone, and do not tie
/// layers.
class MemoryAnswers {
 public:
  /// What the model answers; strategies have no names.
  [[nodiscard]] std::optional<StageAnswer> solve(const StageModel& model,
                                                 const StageQuestion& question);

  /// What StageModel::least_cost says.
  [[nodiscard]] double least_cost(const StageModel& model, const StageQuestion& question);

 private:
  /// Of one run of layers, the first that was asked about of those that are equal.
  struct OfRun {
    int first_layer = 0;
    std::map<std::int64_t, std::optional<StageAnswer>> answers;  ///< by bytes
    std::map<std::int64_t, double> least;
  };
  [[nodiscard]] OfRun& of_run(const StageModel& model, const StageQuestion& question);

  /// By model, classes of the layers and microbatches in flight.
  std::map<std::tuple<const StageModel*, std::vector<int>, int>, OfRun> runs_;
};

}  // namespace alpa
