#pragma once

#include <span>
#include <string>
#include <vector>

#include "alpa/comm/communicator.hpp"

namespace alpa {

/// Name of this host, as gethostname gives it.
[[nodiscard]] std::string host_name();

/// Host name of every rank. Collective.
[[nodiscard]] std::vector<std::string> host_of_ranks(Communicator& world);

/// Where a rank stands among the ranks of its host.
struct LocalRank {
  int rank = 0;  ///< among those of its host, in rank order
  int size = 1;  ///< ranks of its host
  int host = 0;  ///< index of its host, by first appearance in rank order
  friend bool operator==(const LocalRank&, const LocalRank&) = default;
};

/// @param hosts host name of every rank   @pre 0 <= rank < |hosts|
[[nodiscard]] LocalRank local_rank(std::span<const std::string> hosts, int rank);

}  // namespace alpa
