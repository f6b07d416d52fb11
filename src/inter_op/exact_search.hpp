#pragma once

#include "search_work.hpp"

namespace alpa {

/// What a tier of the search found out; plans are offered to SearchWork on the way.
struct TierResult {
  bool complete = false;     ///< no plan of the declared space is cheaper than the best
  double lower_bound = 0.0;  ///< of every plan in the declared space, in any case
};

/// Every structure with every choice of its stages, depth first under bounds: for problems whose
/// stages have few choices each. Nothing if this one is not so small.
/// @param kinds what each layer may choose to compute again, beginning with nothing; or one of all
[[nodiscard]] std::optional<TierResult> exact_search(SearchWork& work,
                                                     const std::vector<Recompute>& kinds);

}  // namespace alpa
