#pragma once

#include <functional>
#include <string_view>

#include "alpa/graph/graph.hpp"

namespace alpa {

/// The lines of to_text(graph), with their ends, one after the other.
/// @param visit gets texts that are valid until it returns
void each_line(const Graph& graph, const std::function<void(std::string_view)>& visit);

}  // namespace alpa
