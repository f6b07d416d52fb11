#pragma once

#include "exact_search.hpp"
#include "search_work.hpp"

namespace alpa {

/// The search where choices cannot be counted out: tables of the whole line of layers on every
/// mesh, stages cut by dynamic programming over them, the best cuts chosen again stage by stage,
/// priced and packed, then moved about as long as that helps.
/// @param recomputations what backward may compute again; all are searched together
[[nodiscard]] TierResult wide_search(SearchWork& work,
                                     const std::vector<std::vector<Recompute>>& recomputations);

}  // namespace alpa
