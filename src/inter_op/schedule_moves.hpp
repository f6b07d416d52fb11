#pragma once

#include <functional>

#include "search_work.hpp"

namespace alpa {

/// Offers the best plan, if it is 1F1B, with as much deeper warm-up as its arenas leave room for
/// and as makes it cheaper.
void offer_deeper(SearchWork& work);

/// Offers the pipeline of the best plan under other schedules, if one may be chosen. Zero-bubble:
/// everything else as it is. Interleaved, if its meshes are alike: layers keep their strategies,
/// each stage as many layers, cut into chunks that go round the stages. More chunks, and of the
/// schedule that is best other numbers of microbatches, as long as the price falls. Where the best
/// plan is deeper 1F1B and the model is small, also the best of those with the least depth. These
/// are tried, not searched.
/// @param space goes through the declared space for the best plan
/// @return whether such a plan is the best now
bool offer_more_schedules(SearchWork& work, const std::function<void(SearchWork&)>& space);

/// No plan takes less, interleaved or not, norm left out.
[[nodiscard]] double bound_of_any_schedule(SearchWork& work);

}  // namespace alpa
