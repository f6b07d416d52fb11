#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "alpa/config/run_config.hpp"
#include "alpa/plan/methods.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/plan/plan_file.hpp"

#include "target.hpp"

namespace alpa {

/// A request for the plan of a method by hand: for so many microbatches that it fits, and where the
/// cluster is known those of least price on it.
[[nodiscard]] MethodRequest method_request(const ParallelConfig& parallel, const RunConfig& config,
                                           const Target& target);

/// The graphs of the model.
[[nodiscard]] GraphOfMicrobatch graphs_of(const RunConfig& config);

/// A method's plan and what it takes, or why it has none.
struct PricedMethod {
  ComparedMethod figures;
  std::optional<Plan> plan;
};

/// Every method by hand with what the configuration fixes (microbatches, stages, logical mesh,
/// schedule, layouts), in a fixed order.
/// @param told name of the method that comes next
[[nodiscard]] std::vector<PricedMethod> price_methods(
    const RunConfig& config, const Target& target,
    const std::function<void(const std::string& method, double share)>& told);

/// Step times side by side.
[[nodiscard]] std::string compare_table(const std::vector<ComparedMethod>& compared);

}  // namespace alpa
