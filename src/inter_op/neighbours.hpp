#pragma once

#include <vector>

#include "search_work.hpp"

namespace alpa {

/// Drafts that differ from a given one in one border, one mesh, the meshes of all stages of a size,
/// the number of microbatches, the schedule or the depth, or in one stage more on idle devices.
[[nodiscard]] std::vector<Draft> neighbours(SearchWork& work, const Draft& given);

}  // namespace alpa
