#pragma once

#include <string>
#include <vector>

#include "alpa/comm/communicator.hpp"

namespace alpa {

/// Rank 0's text on every rank.
[[nodiscard]] std::string broadcast_text(Communicator& world, std::string text);

/// Every rank's text, on every rank.
[[nodiscard]] std::vector<std::string> gather_texts(Communicator& world, const std::string& mine);

/// Sums and maxima over all ranks.
[[nodiscard]] std::vector<double> world_sum(Communicator& world, std::vector<double> values);
[[nodiscard]] std::vector<double> world_max(Communicator& world, std::vector<double> values);

/// @throws UserError (configuration) naming the ranks whose text differs from rank 0's
void check_equal_everywhere(Communicator& world, const std::string& what, const std::string& mine);

}  // namespace alpa
