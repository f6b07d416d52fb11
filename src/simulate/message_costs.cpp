#include "message_costs.hpp"

#include <algorithm>

#include "alpa/cluster/host_numbers.hpp"

namespace alpa {

MessageCosts::MessageCosts(const ClusterSpec& cluster, const std::vector<StageMessage>& messages)
    : cluster_(cluster), hosts_(hosts_of_devices(cluster)) {
  using Line = std::tuple<int, int, int, bool>;  // stages, host, whether it sends
  std::vector<std::pair<Line, int>> devices;
  const auto lines = [&](const StageMessage& m) {
    return std::pair<Line, Line>{{m.from_stage, m.to_stage, host(m.from_rank), true},
                                 {m.from_stage, m.to_stage, host(m.to_rank), false}};
  };
  const auto crosses = [&](const StageMessage& m) { return host(m.from_rank) != host(m.to_rank); };
  for (const StageMessage& m : messages) {
    if (!crosses(m)) continue;
    const auto [out, in] = lines(m);
    devices.emplace_back(out, m.from_rank);
    devices.emplace_back(in, m.to_rank);
  }
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  std::map<Line, int> count;
  for (const auto& [line, device] : devices) ++count[line];
  for (const StageMessage& m : messages) {
    if (!crosses(m)) continue;
    const auto [out, in] = lines(m);
    shares_[{m.from_rank, m.to_rank}] = std::max(count.at(out), count.at(in));
  }
}

Seconds MessageCosts::time(Bytes size, int from, int to) const {
  if (!cluster_.axes.empty()) return {0.0};
  const bool inside = host(from) == host(to);
  if (const auto measured = measured_time(cluster_, "message", 2, inside ? 1 : 2, size)) {
    return *measured;
  }
  Link link = inside ? cluster_.hosts[static_cast<std::size_t>(host(from))].intra_host
                     : cluster_.inter_host;
  const auto share = shares_.find({from, to});
  if (share != shares_.end()) link.bandwidth /= share->second;
  return message_time(size, link);
}

std::map<std::pair<int, int>, Seconds> transfer_times(const std::vector<StageMessage>& messages,
                                                      Phase phase, const MessageCosts& costs) {
  using End = std::tuple<int, int, int, bool>;  // chunks or stages, rank, whether it sends
  const bool by_chunk = phase == Phase::forward || phase == Phase::backward;
  std::vector<std::pair<End, Seconds>> ends;
  for (const StageMessage& m : messages) {
    if (m.phase != phase) continue;
    const Seconds time = costs.time(m.size, m.from_rank, m.to_rank);
    const int from = by_chunk ? m.from_chunk : m.from_stage;
    const int to = by_chunk ? m.to_chunk : m.to_stage;
    ends.push_back({{from, to, m.from_rank, true}, time});
    ends.push_back({{from, to, m.to_rank, false}, time});
  }
  std::stable_sort(ends.begin(), ends.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::map<std::pair<int, int>, Seconds> times;
  for (auto end = ends.begin(); end != ends.end();) {
    const End who = end->first;
    Seconds all{0.0};
    for (; end != ends.end() && end->first == who; ++end) all += end->second;
    Seconds& longest = times[{std::get<0>(who), std::get<1>(who)}];
    longest = std::max(longest, all);
  }
  return times;
}

}  // namespace alpa
