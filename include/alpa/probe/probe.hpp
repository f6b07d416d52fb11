#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/comm/communicator.hpp"
#include "alpa/device/device.hpp"

namespace alpa {

struct ProbeRequest {
  DType dtype = DType::f32;   ///< of the run's products
  int threads = 1;            ///< of each rank's device
  double usable_cores = 1.0;  ///< of this rank's host
  Bytes memory_per_rank{};    ///< what a rank of this host may use
  std::function<void(const std::string& what, double share)> progress;  ///< on rank 0; may be unset
};

/// Times kernels and collectives with all ranks of each host at work at once, in a few seconds.
/// Collective over `world`; every rank gets the same answer: hosts in rank order with their kinds,
/// links and measured tables.
/// @param complete set: whether there was time for the largest sizes. If not, tables go on at the
///        fastest rate found, and are no figures to keep
/// @throws UserError (configuration) if a host's ranks are not
/// consecutive
[[nodiscard]] ClusterSpec probe(Communicator& world, Device& device, const ProbeRequest& request,
                                bool* complete = nullptr);

/// What the figures depend on: processor, cores, ranks per host, threads, dtype, program build. The
/// name of the profile in the cache.
[[nodiscard]] std::string hardware_key(Communicator& world, const Device& device,
                                       const ProbeRequest& request);

/// $XDG_CACHE_HOME/alpa or ~/.cache/alpa; nothing if there is no such place.
[[nodiscard]] std::optional<std::filesystem::path> profile_cache();

/// A profile is a cluster file. Nothing if it is not there, or cannot be read as one: then
/// `warning` says why, line by line as for any input.
[[nodiscard]] std::optional<ClusterSpec> load_profile(const std::filesystem::path& file,
                                                      std::string* warning = nullptr);
/// Written beside and renamed into place; folders that are missing are made.
/// @throws SystemError (74)
void save_profile(const ClusterSpec& cluster, const std::filesystem::path& file);

}  // namespace alpa
