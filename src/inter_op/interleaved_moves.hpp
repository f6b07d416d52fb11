#pragma once

#include "search_work.hpp"

namespace alpa {

/// Offers the pipeline of the best plan with several chunks a stage, if a schedule may be chosen
/// and its meshes are alike: layers keep their strategies, each stage as many layers, cut into
/// chunks that go round the stages. More chunks, and other numbers of microbatches, as long as the
/// price falls. Interleaved plans are tried, not searched.
void offer_interleaved(SearchWork& work);

/// No plan takes less, interleaved or not, norm left out.
[[nodiscard]] double bound_of_any_schedule(SearchWork& work);

}  // namespace alpa
