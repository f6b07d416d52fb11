#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "search_work.hpp"

namespace alpa {

/// One choice of a stage, in numbers.
struct StagePoint {
  const StageAnswer* answer = nullptr;
  StageTimes least;  ///< its times when all other devices of its hosts wait
  /// Points that this one replaces: no faster in anything, no smaller, with the same borders.
  std::vector<const StageAnswer*> replaced;
};

/// Every choice of a run of layers on a mesh; its parts say what is computed again, no more.
struct PointSet {
  std::vector<StageAnswer> answers;
  std::vector<StagePoint> points;
};

/// Bytes of a stage, as its figures count them.
[[nodiscard]] Bytes memory_of(const StageFigures& figures, int in_flight);

/// All choices of stages, made when first asked for.
class StagePoints {
 public:
  /// @param kinds what each layer may choose of
  StagePoints(SearchWork& work, std::vector<Recompute> kinds);

  /// Whether all choices of all stages are few enough to hold; makes them.
  [[nodiscard]] bool few_enough();

  [[nodiscard]] const PointSet& of(int microbatches, const DraftStage& stage);

 private:
  using Key = std::tuple<int, int, int, std::string>;  ///< microbatches, layers, mesh
  [[nodiscard]] bool add(int microbatches, const DraftStage& stage);
  [[nodiscard]] bool add(int microbatches, const DraftStage& stage,
                         const std::vector<Recompute>& of_layer, PointSet& set);
  [[nodiscard]] bool may_be_few();

  SearchWork& work_;
  std::vector<Recompute> kinds_;
  std::map<Key, PointSet> sets_;
  std::size_t held_ = 0;
};

}  // namespace alpa
