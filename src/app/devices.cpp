#include "devices.hpp"

#include <algorithm>
#include <chrono>
#include <sched.h>
#include <set>
#include <sstream>

#include "alpa/base/error.hpp"
#include "alpa/probe/probe.hpp"

#include "setup.hpp"
#include "target.hpp"
#include "world.hpp"

namespace alpa {
namespace {

namespace fs = std::filesystem;

/// Cores on which this process may run, by number.
std::string own_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::string text;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return text;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) text += std::to_string(core) + " ";
  }
  return text;
}

/// Ranks may be bound to a core each: all cores of a host are those of any of its ranks.
double cores_of_host(Communicator& world, const std::vector<std::string>& hosts) {
  const auto texts = gather_texts(world, own_cores());
  const std::string& here = hosts[static_cast<std::size_t>(world.rank())];
  std::set<int> cores;
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    if (hosts[rank] != here) continue;
    std::istringstream numbers(texts[rank]);
    for (int core = 0; numbers >> core;) cores.insert(core);
  }
  return std::max<double>(1.0, static_cast<double>(cores.size()));
}

std::optional<ClusterSpec> read_known(const fs::path& file, const std::string& key, int ranks,
                                      const ProfileRequest& request) {
  std::string warning;
  auto cluster = load_profile(file, &warning);
  if (!warning.empty()) request.warning("the profile is not used: " + warning);
  if (!cluster || cluster->name != key || num_devices(*cluster) != ranks) return std::nullopt;
  return cluster;
}

/// What rank 0 finds.
Profile known_profile(const std::string& key, int ranks, const ProfileRequest& request) {
  Profile profile{key, std::nullopt, ""};
  if (request.run_directory) {
    const fs::path file = *request.run_directory / "profile.yaml";
    profile.cluster = read_known(file, key, ranks, request);
    profile.origin = file.string();
  }
  const auto cache = profile_cache();
  if (!profile.cluster && cache) {
    const fs::path file = *cache / (key + ".yaml");
    profile.cluster = read_known(file, key, ranks, request);
    profile.origin = file.string();
  }
  return profile;
}

void keep_in_cache(const ClusterSpec& cluster, const std::string& key,
                   const ProfileRequest& request) {
  const auto cache = profile_cache();
  if (!cache) return;
  try {
    save_profile(cluster, *cache / (key + ".yaml"));
  } catch (const SystemError& error) {  // measured again the next time
    request.warning(std::string("the profile is not kept: ") + error.what());
  }
}

ClusterSpec measure(const std::string& key, const Devices& devices, Communicator& world,
                    const ProbeRequest& probe_request, const ProfileRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const bool root = world.rank() == 0;
  if (root) request.info("measuring how fast these devices are: once, kept for later runs");
  bool complete = false;
  ClusterSpec cluster = probe(world, *devices.device, probe_request, &complete);
  cluster.name = key;
  if (!root) return cluster;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  request.info("measured in " + to_text(Seconds{seconds.count()}));
  if (complete) {
    keep_in_cache(cluster, key, request);
  } else {
    request.warning(
        "there was no time to measure all sizes (a busy host, or slow devices): predictions are "
        "rough, and the profile is not kept");
  }
  return cluster;
}

}  // namespace

Devices find_devices(const RunConfig& config, Communicator& world) {
  Devices devices;
  devices.hosts = host_of_ranks(world);
  devices.local = local_rank(devices.hosts, world.rank());
  devices.cores = cores_of_host(world, devices.hosts);
  devices.threads = threads_of_rank(devices.local.size);
  devices.device = make_device(config, devices.threads);
  return devices;
}

Profile find_profile(const RunConfig& config, const Devices& devices, Communicator& world,
                     const ProfileRequest& request) {
  ProbeRequest probe_request;
  probe_request.dtype = dtype_of(config);
  probe_request.threads = devices.threads;
  probe_request.usable_cores = devices.cores;
  probe_request.memory_per_rank = capacity_of_rank(config, devices.local.size);
  probe_request.progress = request.progress;
  const std::string key = hardware_key(world, *devices.device, probe_request);
  Profile profile{key, std::nullopt, ""};
  if (world.rank() == 0) profile = known_profile(key, world.size(), request);
  const bool known = broadcast_text(world, profile.cluster ? "known" : "").size() > 0;
  if (!known && request.measure) {
    profile.cluster = measure(key, devices, world, probe_request, request);
    profile.origin = "measured now";
  }
  return profile;
}

}  // namespace alpa
