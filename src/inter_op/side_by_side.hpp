#pragma once

#include <cstddef>
#include <functional>

namespace alpa {

/// Runs jobs 0 .. jobs - 1 on several threads. What they do must not depend on their order.
void side_by_side(std::size_t jobs, const std::function<void(std::size_t)>& job);

}  // namespace alpa
