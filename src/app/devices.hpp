#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/comm/communicator.hpp"
#include "alpa/comm/hosts.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/device/device.hpp"

namespace alpa {

/// What this rank runs on.
struct Devices {
  std::vector<std::string> hosts;  ///< name of every rank's
  LocalRank local;
  double cores = 1.0;  ///< that the ranks of this host may use together
  int threads = 1;     ///< of this rank's device
  std::unique_ptr<Device> device;
};

/// Collective.
[[nodiscard]] Devices find_devices(const RunConfig& config, Communicator& world);

/// How fast the devices of the job are, as measured once.
struct Profile {
  std::string key;  ///< of the hardware
  std::optional<ClusterSpec> cluster;
  std::string origin;  ///< of `cluster`: where it was read, or that it was measured
};

struct ProfileRequest {
  /// A profile there is taken if it is of the same hardware and as many ranks.
  std::optional<std::filesystem::path> run_directory;
  bool measure = false;                                                 ///< where none is known
  std::function<void(const std::string& text)> info, warning;           ///< on rank 0
  std::function<void(const std::string& what, double share)> progress;  ///< on rank 0
};

/// The profile of the run directory, else of the user's cache, else measured, and then kept in the
/// cache. On every rank; collective.
[[nodiscard]] Profile find_profile(const RunConfig& config, const Devices& devices,
                                   Communicator& world, const ProfileRequest& request);

}  // namespace alpa
