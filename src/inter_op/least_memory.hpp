#pragma once

#include "search_work.hpp"

namespace alpa {

/// Plans of little memory, for where nothing fits: offered to `work`.
void search_least_memory(SearchWork& work);

}  // namespace alpa
