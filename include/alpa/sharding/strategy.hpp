#pragma once

#include <optional>
#include <string>
#include <vector>

#include "alpa/cluster/mesh.hpp"
#include "alpa/graph/rule.hpp"
#include "alpa/sharding/sharding_spec.hpp"

namespace alpa {

/// What one mesh axis does for an operator: split a factor, or carry a partial sum through one of
/// the rule's linear groups. An axis that is not used repeats the work on each of its devices.
struct AxisUse {
  MeshAxis axis = 0;
  char factor = '\0';  ///< the factor that is split, or '\0'
  int linear = -1;     ///< else the linear group
  friend bool operator==(const AxisUse&, const AxisUse&) = default;
  friend auto operator<=>(const AxisUse&, const AxisUse&) = default;
};

/// One operator's choice. Where two axes split one factor, the first stands for the major part.
struct Strategy {
  std::vector<AxisUse> uses;
  friend bool operator==(const Strategy&, const Strategy&) = default;
  friend auto operator<=>(const Strategy&, const Strategy&) = default;
};

/// Layouts that a strategy gives the operator's operands and results.
struct OperatorLayout {
  std::vector<ShardingSpec> operands, results;
  friend bool operator==(const OperatorLayout&, const OperatorLayout&) = default;
};

/// "h@1 b@0", "linear0@1"; "replicated" for the empty one.
[[nodiscard]] std::string to_string(const Strategy& strategy);
/// @throws PlanError that quotes the text.
[[nodiscard]] Strategy parse_strategy(const std::string& text);

/// The layouts, or why the strategy is not one of the rule's on this mesh.
struct StrategyResult {
  std::optional<OperatorLayout> layout;
  std::string reason;  ///< set where layout is not
};
[[nodiscard]] StrategyResult apply_strategy(const ShardingRule& rule, const Strategy& strategy,
                                            const DeviceMesh& mesh);

/// Every strategy of the rule on the mesh, the replicated one first. At least one.
[[nodiscard]] std::vector<Strategy> all_strategies(const ShardingRule& rule,
                                                   const DeviceMesh& mesh);

}  // namespace alpa
