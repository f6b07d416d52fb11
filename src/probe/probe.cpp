#include "alpa/probe/probe.hpp"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "collective_times.hpp"
#include "fit.hpp"
#include "hardware.hpp"
#include "kernel_times.hpp"
#include "samples.hpp"
#include "team.hpp"
#include "working_set.hpp"

namespace alpa {
namespace {

using namespace probe_detail;

constexpr double kKernelSeconds = 1.8;
constexpr double kCollectiveSeconds = 1.1;
constexpr int kTeamTag = Communicator::kTags - 1000;

/// What a host is, as far as its figures depend on it.
struct HostFacts {
  int devices = 1;
  int threads = 1;
  double cores = 1.0;
  Bytes memory;  ///< of a rank
  std::string processor;

  /// Devices that compute at once.
  [[nodiscard]] double at_once() const {
    return std::min<double>(devices, std::max(1.0, cores / threads));
  }
  /// Ranks that measure: no more than compute at once.
  [[nodiscard]] int workers() const { return static_cast<int>(at_once()); }
  /// Hosts of one kind share their figures; memory differs from hour to hour.
  [[nodiscard]] bool same_kind(const HostFacts& other) const {
    return devices == other.devices && threads == other.threads && cores == other.cores &&
           processor == other.processor;
  }
};

std::vector<HostFacts> facts_of_hosts(Communicator& world, const std::vector<int>& hosts,
                                      const ProbeRequest& request) {
  std::ostringstream mine;
  mine.precision(17);
  mine << request.threads << ' ' << request.usable_cores << ' ' << request.memory_per_rank.value
       << '\n'
       << processor_name();
  std::vector<HostFacts> all;
  for (const std::string& text : texts_of_hosts(world, hosts, mine.str())) {
    HostFacts facts;
    std::istringstream in(text);
    in >> facts.threads >> facts.cores >> facts.memory.value;
    in.ignore();
    std::getline(in, facts.processor);
    facts.devices = hosts[all.size()];
    all.push_back(std::move(facts));
  }
  return all;
}

/// Index of each host's kind, by first appearance.
std::vector<int> kinds_of(const std::vector<HostFacts>& facts) {
  std::vector<int> kinds;
  std::vector<const HostFacts*> known;
  for (const HostFacts& host : facts) {
    const auto same = std::find_if(known.begin(), known.end(),
                                   [&](const HostFacts* other) { return other->same_kind(host); });
    kinds.push_back(static_cast<int>(same - known.begin()));
    if (same == known.end()) known.push_back(&host);
  }
  return kinds;
}

/// Where this rank stands.
struct Seat {
  std::size_t host = 0;
  int place = 0;  ///< among its host's ranks
};

Seat seat_of(int rank, const std::vector<int>& hosts) {
  std::size_t host = 0;
  while (rank >= hosts[host]) rank -= hosts[host++];
  return {host, rank};
}

std::vector<int> workers_of(const std::vector<HostFacts>& facts) {
  std::vector<int> ranks;
  int first = 0;
  for (const HostFacts& host : facts) {
    for (int r = 0; r < host.workers(); ++r) ranks.push_back(first + r);
    first += host.devices;
  }
  return ranks;
}

std::function<void(double)> progress_of(const ProbeRequest& request, const char* what) {
  if (!request.progress) return {};
  return [&request, what](double share) { request.progress(what, share); };
}

/// The kinds of devices, each with the mean of what its ranks measured. Ranks that would only share
/// the cores with those that measure sleep meanwhile.
/// @param complete set: whether there was time for the largest sample of every series
std::vector<DeviceKind> measure_devices(Communicator& world, Device& device,
                                        const ProbeRequest& request,
                                        const std::vector<HostFacts>& facts,
                                        const std::vector<int>& kinds, const Seat& seat,
                                        bool& complete) {
  const std::vector<SampleSeries> all = all_samples(request.dtype);
  const auto num_kinds =
      static_cast<std::size_t>(*std::max_element(kinds.begin(), kinds.end())) + 1;
  std::size_t samples = 0;
  for (const SampleSeries& series : all) samples += series.samples.size();
  std::vector<double> totals(num_kinds * samples + 1, 0.0);  // last: ranks with a cut series
  const std::vector<int> workers = workers_of(facts);
  if (std::binary_search(workers.begin(), workers.end(), world.rank())) {
    const auto made =
        std::ssize(workers) < world.size() ? world.subgroup(workers, kTeamTag) : nullptr;
    WorkingSet memory(device, request.dtype, {request.memory_per_rank.value / 2});
    const auto times = kernel_times(all, made ? *made : world, device, memory,
                                    device.host_accessible() && request.threads == 1,
                                    kKernelSeconds, progress_of(request, "kernels"));
    std::size_t at = static_cast<std::size_t>(kinds[seat.host]) * samples;
    totals.back() = times.cut ? 1.0 : 0.0;
    for (const auto& series : times.seconds) {
      for (const double time : series) totals[at++] = time;
    }
  }
  totals = sums(world, std::move(totals));
  complete = totals.back() == 0.0;
  std::vector<DeviceKind> result;
  for (std::size_t kind = 0; kind < num_kinds; ++kind) {
    int ranks = 0;
    Bytes memory = facts.front().memory;
    const HostFacts* host = nullptr;
    for (std::size_t h = 0; h < facts.size(); ++h) {
      if (kinds[h] != static_cast<int>(kind)) continue;
      ranks += facts[h].workers();
      memory = host == nullptr ? facts[h].memory : std::min(memory, facts[h].memory);
      host = &facts[h];
    }
    const double factor = host->devices / host->at_once() / ranks;
    std::vector<std::vector<double>> seconds;
    std::size_t at = kind * samples;
    for (const SampleSeries& series : all) {
      seconds.emplace_back();
      for (std::size_t i = 0; i < series.samples.size(); ++i) {
        seconds.back().push_back(totals[at++] * factor);
      }
    }
    DeviceKind measured = device_kind_of(all, seconds, request.dtype);
    measured.name = host->processor;
    measured.memory = memory;
    result.push_back(std::move(measured));
  }
  return result;
}

}  // namespace

ClusterSpec probe(Communicator& world, Device& device, const ProbeRequest& request,
                  bool* complete) {
  const std::vector<int> hosts = ranks_of_hosts(world);
  const std::vector<HostFacts> facts = facts_of_hosts(world, hosts, request);
  const std::vector<int> kinds = kinds_of(facts);
  ClusterSpec cluster;
  cluster.name = "measured";
  bool whole_tables = true;
  cluster.kinds = measure_devices(world, device, request, facts, kinds,
                                  seat_of(world.rank(), hosts), whole_tables);
  CollectiveTimes collectives = collective_times(world, hosts, request.dtype, kCollectiveSeconds,
                                                 progress_of(request, "links"));
  cluster.collectives = std::move(collectives.tables);
  if (complete != nullptr) *complete = whole_tables && !collectives.cut;
  const Link inside = link_of_messages(cluster.collectives, 1);
  const Link none = link_of_messages({}, 1);
  for (std::size_t h = 0; h < facts.size(); ++h) {
    const bool shares = facts[h].at_once() < facts[h].devices;
    cluster.hosts.push_back({kinds[h], facts[h].devices, facts[h].devices > 1 ? inside : none,
                             shares ? facts[h].at_once() : 0.0});
  }
  // A pair of ranks has a share of its hosts' link.
  cluster.inter_host = link_of_messages(cluster.collectives, 2);
  cluster.inter_host.bandwidth *= *std::min_element(hosts.begin(), hosts.end());
  return cluster;
}

}  // namespace alpa
