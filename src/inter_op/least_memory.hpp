#pragma once

#include "search_work.hpp"

namespace alpa {

/// Plans of little memory, for where nothing fits: offered to `work`.
void search_least_memory(SearchWork& work);

/// Whether one copy of everything is more than all devices hold together, with what is computed
/// again now: no plan fits then.
[[nodiscard]] bool cannot_fit(SearchWork& work);

}  // namespace alpa
