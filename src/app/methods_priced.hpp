#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "alpa/config/run_config.hpp"
#include "alpa/inter_op/plan_models.hpp"
#include "alpa/plan/methods.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/plan/plan_file.hpp"

#include "target.hpp"

namespace alpa {

/// A request for the plan of a method by hand: for so many microbatches that it fits, and where the
/// cluster is known those of least price on it.
/// @param models if given, prices are those of figures, not of lowered programs; kept by reference
[[nodiscard]] MethodRequest method_request(const ParallelConfig& parallel, const RunConfig& config,
                                           const Target& target, PlanModels* models = nullptr);

/// The graphs of the model.
[[nodiscard]] GraphOfMicrobatch graphs_of(const RunConfig& config);

/// The graph that a plan is for. @throws PlanError if the plan is for another number of layers
[[nodiscard]] Graph graph_of(const RunConfig& config, const Plan& plan);

/// How methods are priced: by lowering their plans, or by the figures of their stages alone.
enum class MethodPricing : std::uint8_t { lowered, modelled };

/// A method's plan and what it takes, or why it has none.
struct PricedMethod {
  ComparedMethod figures;
  std::optional<Plan> plan;
  /// Found on some of many equal layers: there is no plan, `plan_of_method` makes it.
  bool folded = false;
  Method method = Method::data;
};

/// Every method by hand with what the configuration fixes (microbatches, stages, logical mesh,
/// schedule, layouts), in a fixed order.
/// @param told name of the method that comes next
[[nodiscard]] std::vector<PricedMethod> price_methods(
    const RunConfig& config, const Target& target, MethodPricing pricing,
    const std::function<void(const std::string& method, double share)>& told);

/// The plan of a method, all layers looked at; nothing if it has none.
[[nodiscard]] std::optional<Plan> plan_of_method(const RunConfig& config, const Target& target,
                                                 Method method);

/// Some layers that are enough to price plans by hand of a deep model by their figures.
struct FoldedModel {
  LayerLine line;
  GraphOfMicrobatch graph;
};
/// Nothing where few layers are equal, or layouts tell layers apart.
[[nodiscard]] std::optional<FoldedModel> folded_model(const RunConfig& config);

/// Step times side by side.
[[nodiscard]] std::string compare_table(const std::vector<ComparedMethod>& compared);

}  // namespace alpa
