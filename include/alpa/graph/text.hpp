#pragma once

#include <string>
#include <string_view>

#include "alpa/graph/graph.hpp"

namespace alpa {

[[nodiscard]] std::string_view to_string(Role role);
[[nodiscard]] std::string_view to_string(Phase phase);

/// "einsum be,ef->bf scale=1": kind, letters and every attribute, so equal texts are equal kernels.
/// @pre `num_operands` and `rank` (of the first result) as in the operator
[[nodiscard]] std::string to_text(const Kernel& kernel, std::size_t num_operands, std::size_t rank);

/// One line per tensor, then one per operator: everything of the graph, for people, differences of
/// two graphs and the fingerprint.
[[nodiscard]] std::string to_text(const Graph& graph);

}  // namespace alpa
