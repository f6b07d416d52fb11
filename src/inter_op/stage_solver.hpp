#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "drafts.hpp"
#include "search_work.hpp"

namespace alpa {

/// Chooses the operators of drafts, stage by stage, and offers the plans.
class StageSolver {
 public:
  explicit StageSolver(SearchWork& work) : work_(work) {}

  /// What the figures of the best choice of each stage within its memory come to; nothing where one
  /// has none.
  [[nodiscard]] std::optional<double> modelled(const Draft& draft);

  /// Best choice of each stage within its memory; where packing takes more than the figures say, a
  /// stage is chosen again with that much less. The plan's price if one was found that fits.
  std::optional<double> offer(const Draft& draft);

  /// Where plans that were offered did not fit: counts what packing took beyond their figures with
  /// every stage from now on. False if nothing was learnt.
  [[nodiscard]] bool learn_packing();

  /// The least memory that each stage can do with, whatever the time.
  void offer_smallest(const Draft& draft);

 private:
  [[nodiscard]] const std::optional<StageAnswer>& solve(const Draft& draft, std::size_t s,
                                                        Bytes memory);

  [[nodiscard]] std::optional<std::vector<const StageAnswer*>> solve_all(
      const Draft& draft, const std::vector<Bytes>& rooms);
  [[nodiscard]] std::vector<Bytes> rooms_of(const Draft& draft);

  /// Choices of all stages, and what they then send each other.
  struct Chosen {
    std::vector<const StageAnswer*> answers;
    CrossTraffic traffic;
  };
  /// Choices that leave room for what messages are packed into: `rooms` becomes what is left.
  [[nodiscard]] std::optional<Chosen> choose(const Draft& draft, std::vector<Bytes>& rooms);
  [[nodiscard]] CrossTraffic traffic(const Draft& draft,
                                     const std::vector<const StageAnswer*>& answers);

  /// Answers of one stage whatever its memory, on the lower convex hull of time over bytes, as far
  /// as it was looked at: cheapest first.
  struct Hull {
    std::vector<StageAnswer> points;
    bool has_smallest = false;
  };
  [[nodiscard]] std::optional<StageAnswer> solve_tied(const StageModel& model,
                                                      const StageQuestion& question, Hull& hull);
  void refine(const StageModel& model, const StageQuestion& question, Hull& hull,
              std::size_t& fits);

  SearchWork& work_;
  std::map<std::string, Hull> hulls_;
  std::map<std::string, std::optional<StageAnswer>> answers_;
  std::map<std::string, std::optional<double>> modelled_;
  std::map<int, std::vector<CrossTensor>> cross_;  ///< by microbatches
  std::optional<Bytes> seen_packing_;              ///< the least of stages that did not fit
  std::map<std::string, std::optional<double>> offered_;
};

}  // namespace alpa
