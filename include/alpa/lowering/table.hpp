#pragma once

#include "alpa/plan/plan.hpp"
#include "alpa/schedule/schedule.hpp"

namespace alpa {

/// The table that a training step of the plan follows.  @pre validate(plan, graph) passes
[[nodiscard]] Schedule table_of(const Plan& plan);

/// That of its evaluation.  @pre validate(plan, graph) passes
[[nodiscard]] Schedule evaluation_table_of(const Plan& plan);

}  // namespace alpa
