#pragma once

#include <functional>
#include <vector>

#include "exact_search.hpp"
#include "search_work.hpp"

namespace alpa {

/// The search where choices cannot be counted out: tables of the whole line of layers on every
/// mesh, stages cut by dynamic programming over them, the best cuts chosen again stage by stage,
/// priced and packed, then moved about as long as that helps.
/// @param kinds what every layer may choose to compute again, said of all of them, beginning with
/// nothing; one alone if all layers are to be alike
/// @param rated told once cuts were rated, with the seconds that the best of them take about
[[nodiscard]] TierResult wide_search(SearchWork& work,
                                     const std::vector<std::vector<Recompute>>& kinds,
                                     const std::function<void(double seconds)>& rated);

}  // namespace alpa
