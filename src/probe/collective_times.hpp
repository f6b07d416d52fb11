#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/comm/communicator.hpp"

namespace alpa::probe_detail {

struct CollectiveTimes {
  std::vector<CollectiveTable> tables;
  bool cut = false;  ///< there was no time for the largest size of some; then it has no table
};

/// Times collectives and messages over groups within hosts, between hosts and over all ranks, all
/// groups of a kind at once. Takes about `seconds`. Collective over `world`; the same tables on
/// every rank: means over the ranks of medians.
/// @param hosts ranks of each host, in rank order
/// @param dtype of what reductions add up
/// @param progress told the share that is done; may be unset
[[nodiscard]] CollectiveTimes collective_times(Communicator& world, std::span<const int> hosts,
                                               DType dtype, double seconds,
                                               const std::function<void(double share)>& progress);

/// The groups that are timed: their ranks, and how many hosts each spans.
struct Grouping {
  std::vector<std::vector<int>> groups;
  int ranks = 2;
  int hosts = 1;
};

/// Within hosts: 2 ranks, some sizes between, all. Between: a rank of each host, two neighbouring
/// hosts, everybody.
///
/// Example: hosts {4, 4}: {01 23 45 67} {0123 4567} {04 15 26 37} {01234567}.
[[nodiscard]] std::vector<Grouping> groupings(std::span<const int> hosts);

}  // namespace alpa::probe_detail
