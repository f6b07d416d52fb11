#pragma once

#include "exact_search.hpp"
#include "search_work.hpp"

namespace alpa {

/// The search where choices cannot be counted out: tables of the whole line of layers on every
/// mesh, stages cut by dynamic programming over them, the best cuts chosen again stage by stage,
/// priced and packed, then moved about as long as that helps.
[[nodiscard]] TierResult wide_search(SearchWork& work);

/// Plans of little memory, for where nothing fits: offered to `work`.
void search_least_memory(SearchWork& work);

/// No plan takes less time: the kernels that each must run, shared out evenly over all devices at
/// the rates that they reach whole.
[[nodiscard]] double work_bound(SearchWork& work);

}  // namespace alpa
