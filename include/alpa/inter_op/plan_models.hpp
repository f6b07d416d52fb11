#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// What a plan takes as far as the figures of its stages say, without lowering it.
struct ModelledPlan {
  Seconds step_time;          ///< without the norm
  std::vector<Bytes> memory;  ///< [stage] before packing: never more than its largest arena
  /// False where the graph holds only some layers and layers that are like one another do not
  /// choose alike: nothing else is known then.
  bool known = true;
};

/// Prices plans by `StageModel`s that are made once for a number of microbatches and a mesh: a
/// hundredth of the work of `price`, for choosing among plans by hand of large models. Stages lie
/// on consecutive devices and hold one chunk each, under GPipe or 1F1B.
class PlanModels {
 public:
  /// @param cluster kept by reference
  /// @param line where given, graphs hold only some of its layers, and plans are as
  ///   MethodRequest::line says
  explicit PlanModels(const ClusterSpec& cluster, std::optional<LayerLine> line = {});
  ~PlanModels();
  PlanModels(const PlanModels&) = delete;
  PlanModels& operator=(const PlanModels&) = delete;

  /// @param graph of the plan's number of microbatches; the first one of each is kept
  [[nodiscard]] ModelledPlan of(const Graph& graph, const Plan& plan);

 private:
  struct Made;
  std::unique_ptr<Made> made_;
};

/// The plan for a graph with all layers of what a method has found on some of them.
/// @param found as MethodRequest::line says
/// @param graph of the layers that the line keeps
[[nodiscard]] Plan for_all_layers(const Plan& found, const Graph& graph, const LayerLine& line,
                                  const Graph& whole);

}  // namespace alpa
