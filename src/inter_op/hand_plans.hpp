#pragma once

#include "search_work.hpp"

namespace alpa {

/// Offers plans by hand as they are priced: they are plans of the space too, and where choices are
/// hard to find, they are a beginning.
void offer_plans_by_hand(SearchWork& work);

}  // namespace alpa
