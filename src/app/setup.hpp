#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alpa/comm/communicator.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/device/device.hpp"
#include "alpa/lowering/lower.hpp"

#include "options.hpp"

namespace alpa {

/// Rank 0 reads the run file and sends it to all. Collective.
[[nodiscard]] RunConfig share_config(const Options& options, Communicator& world);

/// Refuses values that are well formed but that this version cannot do, before anything else
/// happens. @throws UserError (configuration) naming the key and what is there instead
void refuse_absent(const RunConfig& config);

/// The configuration without what may change between a run and its continuation. Equal texts mean
/// that a run may go on.
[[nodiscard]] std::string resume_key(const RunConfig& config);

/// Lines of `found` and `expected` that differ, for messages.
[[nodiscard]] std::string differing_lines(const std::string& found, const std::string& expected);

/// Threads of one rank's CPU device: OMP_NUM_THREADS if set, else the cores of this host that this
/// process may use over its ranks, at least 1.
[[nodiscard]] int threads_of_rank(int ranks_of_host);

[[nodiscard]] std::unique_ptr<Device> make_device(const RunConfig& config, int threads);

/// Scratch as the device says.
[[nodiscard]] WorkspaceSize workspace_of(const Device& device);

/// The cluster that the configuration names (a file or its content); nothing for `detect`.
[[nodiscard]] std::optional<ClusterConfig> cluster_of(const RunConfig& config);

/// Bytes that one rank may use: parallel.memory_limit, else 0.9 of the host's available memory (or
/// of the cgroup's limit) over its ranks.
[[nodiscard]] Bytes capacity_of_rank(const RunConfig& config, int ranks_of_host);

}  // namespace alpa
