#pragma once

#include <map>
#include <utility>
#include <vector>

#include "account.hpp"

namespace alpa::intra_op {

/// What a run of layers chose, by number and for what is seen of it alone: holds for equal layers
/// elsewhere, whatever is computed again, and is small whatever the number of layers.
struct LayerChoices {
  /// A tensor as an operator that repeats no other has it.
  struct Place {
    int op = 0;  ///< Uses::original_place
    std::size_t i = 0;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  /// Of one layer of the graph.
  struct Layer {
    std::vector<int> options;  ///< [Uses::original_place]; empty: not seen
    std::map<Place, Retention> of_results, of_operands;  ///< what is kept otherwise than usual
    friend auto operator<=>(const Layer&, const Layer&) = default;
  };
  int first = 0;             ///< layer of the line
  std::vector<int> seen_as;  ///< as in the run's view
  int graph_first = 0;
  std::vector<Layer> layers;  ///< [layer of the graph - graph_first]
};

/// @param choice of options that stand in the run's lists
[[nodiscard]] std::shared_ptr<const LayerChoices> choices_of(
    const RunContext& run, const Uses& uses, const RunChoice& choice,
    const std::vector<std::pair<TensorId, Retention>>& retention);

/// Of equal layers that are so many farther on.
[[nodiscard]] std::shared_ptr<const LayerChoices> moved(LayerChoices choices, int layers);

/// What the operators of a run choose if each layer follows its part.
/// @pre the parts hold all layers of the run, each one of a class with those that it is seen as
[[nodiscard]] RunChoice choice_of(const RunContext& run, const Uses& uses,
                                  const std::vector<ChosenLayers>& parts);

/// The strategy that an operator of the graph takes in a layer of the line, whatever is computed
/// again there.
[[nodiscard]] const Strategy& strategy_in(const std::vector<ChosenLayers>& parts, int layer,
                                          const OperatorOptions& options, const Uses& uses, int op);

/// Fills `strategies` and `retention` from `parts`, with the names of `some`, a graph that holds
/// these layers of the line, ascending.
void name_choices(const Graph& graph, const OperatorOptions& options, const Uses& uses,
                  const Graph& some, const std::vector<int>& layers, StageAnswer& answer);

/// [layer of the parts] equal numbers where layers of one class choose alike.
/// @param classes of the layers of the line
[[nodiscard]] std::vector<int> kinds_of_choices(const std::vector<int>& classes,
                                                const std::vector<ChosenLayers>& parts);

}  // namespace alpa::intra_op
