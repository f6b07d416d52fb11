#include "border_traffic.hpp"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

namespace alpa {
namespace {

int hosts_of(const ClusterSpec& cluster, const DraftStage& stage) {
  const int last = stage.first_device + num_devices(stage.mesh) - 1;
  return host_of(cluster, last) - host_of(cluster, stage.first_device) + 1;
}

/// @param farthest layers from that which makes a tensor to one that reads it
BorderTraffic traffic_of(const Graph& graph, const LayerLine& line, int farthest) {
  const auto layers = static_cast<std::size_t>(graph.num_layers);
  BorderTraffic traffic{std::vector<Bytes>(layers, Bytes{0}), std::vector<Bytes>(layers, Bytes{0})};
  std::vector<int> made(graph.tensors.size(), -1);
  std::set<std::pair<std::size_t, std::size_t>> counted;  // tensor, border
  for (const Operator& op : graph.operators) {
    const bool each = op.phase == Phase::forward || op.phase == Phase::backward;
    for (const TensorId t : op.operands) {
      const int from = made[t.index()];
      if (!each || from < 0 || from == op.layer || std::abs(from - op.layer) > farthest) continue;
      auto& bytes = op.phase == Phase::forward ? traffic.forward : traffic.backward;
      for (int i = std::min(from, op.layer) + 1; i <= std::max(from, op.layer); ++i) {
        const auto border = static_cast<std::size_t>(i);
        if (!counted.insert({t.index(), border}).second) continue;
        bytes[border] += bytes_of(graph.tensor(t).shape, graph.tensor(t).dtype);
      }
    }
    for (const TensorId t : op.results) {
      const Role role = graph.tensor(t).role;
      if (each && (role == Role::activation || role == Role::gradient)) made[t.index()] = op.layer;
    }
  }
  BorderTraffic all;
  for (int l = 0; l < line.length(); ++l) {
    all.forward.push_back(traffic.forward[static_cast<std::size_t>(line.like(l))]);
    all.backward.push_back(traffic.backward[static_cast<std::size_t>(line.like(l))]);
  }
  return all;
}

}  // namespace

BorderTraffic border_traffic(const Graph& graph, const LayerLine& line) {
  return traffic_of(graph, line, line.length());
}

BorderTraffic neighbours_traffic(const Graph& graph, const LayerLine& line) {
  return traffic_of(graph, line, 1);
}

Lanes lanes_behind(const ClusterSpec& cluster, int first_device, int devices) {
  const bool measured =
      std::any_of(cluster.collectives.begin(), cluster.collectives.end(),
                  [](const CollectiveTable& table) { return table.kind == "message"; });
  const int end = first_device + devices;
  if (measured || !cluster.axes.empty() || end >= num_devices(cluster)) return {};
  const int host = host_of(cluster, end - 1);
  const bool inside = host_of(cluster, end) == host;
  const int lanes = inside ? devices : host - host_of(cluster, first_device) + 1;
  const Link link = link_between(cluster, end - 1, end);
  return {link.latency.value, lanes * link.bandwidth};
}

std::vector<StageTransfer> estimated_transfers(const Draft& draft, const BorderTraffic& traffic,
                                               const ClusterSpec& cluster) {
  std::vector<StageTransfer> transfers;
  for (std::size_t s = 1; s < draft.stages.size(); ++s) {
    const DraftStage& from = draft.stages[s - 1];
    const DraftStage& to = draft.stages[s];
    const Link link = link_between(cluster, to.first_device - 1, to.first_device);
    const bool inside = host_of(cluster, to.first_device - 1) == host_of(cluster, to.first_device);
    const int lanes = inside ? std::min(num_devices(from.mesh), num_devices(to.mesh))
                             : std::min(hosts_of(cluster, from), hosts_of(cluster, to));
    const auto border = static_cast<std::size_t>(to.first_layer);
    const auto time = [&](Bytes bytes) { return message_time(Bytes{bytes.value / lanes}, link); };
    const auto stage = static_cast<int>(s);
    if (traffic.forward[border] > Bytes{0}) {
      transfers.push_back({stage - 1, stage, false, time(traffic.forward[border])});
    }
    if (traffic.backward[border] > Bytes{0}) {
      transfers.push_back({stage, stage - 1, true, time(traffic.backward[border])});
    }
  }
  return transfers;
}

}  // namespace alpa
