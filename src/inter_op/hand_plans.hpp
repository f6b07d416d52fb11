#pragma once

#include "search_work.hpp"

namespace alpa {

/// Offers plans by hand as they are priced: they are plans of the space too, and where choices are
/// hard to find, they are a beginning.
void offer_plans_by_hand(SearchWork& work);

/// The same where many layers are alike and no plan was found that fits: those alone are lowered
/// that fit as far as the figures of their stages say, or may need less memory than any other.
void offer_small_plans_by_hand(SearchWork& work);

}  // namespace alpa
