#pragma once

#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/sharding/strategy.hpp"

namespace alpa {

/// Layers that a graph need hold so that stage models can answer for the whole line: of long runs
/// of layers whose kinds repeat themselves as many as the models look at, and some at both ends,
/// which may differ from those between. All layers if none repeat themselves often enough.
[[nodiscard]] LayerLine folded_line(const std::vector<int>& kinds);
/// The same with `fewest` layers kept of a run that repeats itself with some period, or up to a
/// period more.
[[nodiscard]] LayerLine folded_line(const std::vector<int>& kinds, int (*fewest)(int period));

/// The layers of the line that the graph of a folded line holds.
[[nodiscard]] std::vector<int> kept_layers(const LayerLine& line);

/// The same line with runs no longer than layers really are alike in the graph: equal classes,
/// nothing that reaches beyond the next layer. The whole line where some run has too few left.
[[nodiscard]] LayerLine checked_line(const LayerLine& line, const Graph& graph);

/// The same strategy of an operator whose factors may have other names.
[[nodiscard]] Strategy renamed(Strategy strategy, const ShardingRule& from, const ShardingRule& to);

}  // namespace alpa
