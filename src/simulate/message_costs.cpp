#include "message_costs.hpp"

#include <algorithm>
#include <set>

namespace alpa {

MessageCosts::MessageCosts(const ClusterSpec& cluster, const std::vector<StageMessage>& messages)
    : cluster_(cluster) {
  using Line = std::tuple<int, int, int, bool>;  // stages, host, whether it sends
  std::map<Line, std::set<int>> devices;
  const auto lines = [&](const StageMessage& m) {
    return std::pair<Line, Line>{{m.from_stage, m.to_stage, host_of(cluster_, m.from_rank), true},
                                 {m.from_stage, m.to_stage, host_of(cluster_, m.to_rank), false}};
  };
  const auto crosses = [&](const StageMessage& m) {
    return host_of(cluster_, m.from_rank) != host_of(cluster_, m.to_rank);
  };
  for (const StageMessage& m : messages) {
    if (!crosses(m)) continue;
    const auto [out, in] = lines(m);
    devices[out].insert(m.from_rank);
    devices[in].insert(m.to_rank);
  }
  for (const StageMessage& m : messages) {
    if (!crosses(m)) continue;
    const auto [out, in] = lines(m);
    const std::size_t most = std::max(devices.at(out).size(), devices.at(in).size());
    shares_[{m.from_rank, m.to_rank}] = static_cast<int>(most);
  }
}

Seconds MessageCosts::time(Bytes size, int from, int to) const {
  if (!cluster_.axes.empty()) return {0.0};
  const int hosts = host_of(cluster_, from) == host_of(cluster_, to) ? 1 : 2;
  if (const auto measured = measured_time(cluster_, "message", 2, hosts, size)) return *measured;
  Link link = link_between(cluster_, from, to);
  const auto share = shares_.find({from, to});
  if (share != shares_.end()) link.bandwidth /= share->second;
  return message_time(size, link);
}

std::map<std::pair<int, int>, Seconds> transfer_times(const std::vector<StageMessage>& messages,
                                                      Phase phase, const MessageCosts& costs) {
  using End = std::tuple<int, int, int, bool>;  // chunks or stages, rank, whether it sends
  const bool by_chunk = phase == Phase::forward || phase == Phase::backward;
  std::map<End, Seconds> ends;
  for (const StageMessage& m : messages) {
    if (m.phase != phase) continue;
    const Seconds time = costs.time(m.size, m.from_rank, m.to_rank);
    const int from = by_chunk ? m.from_chunk : m.from_stage;
    const int to = by_chunk ? m.to_chunk : m.to_stage;
    ends[{from, to, m.from_rank, true}] += time;
    ends[{from, to, m.to_rank, false}] += time;
  }
  std::map<std::pair<int, int>, Seconds> times;
  for (const auto& [end, time] : ends) {
    Seconds& longest = times[{std::get<0>(end), std::get<1>(end)}];
    longest = std::max(longest, time);
  }
  return times;
}

}  // namespace alpa
