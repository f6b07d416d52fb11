#pragma once

#include <map>
#include <optional>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"
#include "alpa/solver/solve.hpp"

#include "account.hpp"

namespace alpa::intra_op {

/// Choices of a problem in order of cost, those that differ in `deciding` nodes alone once
/// (Lawler 1972: the rest is divided by the first deciding node that is chosen otherwise).
class Lawler {
 public:
  Lawler(const Problem& problem, const std::vector<int>& deciding, const SolveLimits& limits);

  /// The next; nothing if there are no more.
  [[nodiscard]] std::optional<Solution> next();

 private:
  struct Part {
    std::vector<int> fixed;                     ///< options of the first deciding nodes
    std::vector<std::pair<int, int>> excluded;  ///< (deciding node, option)
    Solution solution;
  };
  void add(std::vector<int> fixed, std::vector<std::pair<int, int>> excluded);

  const Problem& problem_;
  const std::vector<int>& deciding_;
  SolveLimits limits_;
  std::multimap<double, Part> parts_;
};

/// Every choice of strategies and of retentions that matter, unless there are more than `limit`.
[[nodiscard]] std::optional<std::vector<StageAnswer>> enumerate(const RunContext& run,
                                                                const StageConstraints& constraints,
                                                                std::size_t limit);

}  // namespace alpa::intra_op
