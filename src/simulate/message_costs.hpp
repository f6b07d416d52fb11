#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/lowering/traffic.hpp"
#include "alpa/simulate/price.hpp"

namespace alpa {

/// Times of the messages between stages. The devices of a host that send from one stage to another
/// share the host's link, and so do those that receive. Measured tables ("message", 2 ranks) come
/// first. Free where the cluster prices logical meshes directly.
class MessageCosts {
 public:
  MessageCosts(const ClusterSpec& cluster, const std::vector<StageMessage>& messages);

  [[nodiscard]] Seconds time(Bytes size, int from, int to) const;

 private:
  [[nodiscard]] int host(int rank) const { return hosts_[static_cast<std::size_t>(rank)]; }

  const ClusterSpec cluster_;
  std::vector<int> hosts_;                     ///< [rank]
  std::map<std::pair<int, int>, int> shares_;  ///< of a host's link, by ranks
};

/// What the messages of one phase take between each pair of chunks, in forward and backward, else
/// of stages: the longest time of a sender or receiver, whose messages go one after the other.
[[nodiscard]] std::map<std::pair<int, int>, Seconds> transfer_times(
    const std::vector<StageMessage>& messages, Phase phase, const MessageCosts& costs);

}  // namespace alpa
