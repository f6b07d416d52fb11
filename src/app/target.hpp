#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/plan/plan.hpp"

namespace alpa {

/// The devices that a plan is for: device i is rank i.
struct Target {
  int ranks = 1;
  std::optional<ClusterSpec> cluster;  ///< where their speed is known
  std::optional<Bytes> limit;          ///< of a device, in place of what its kind holds
  WorkspaceSize workspace;             ///< of their kernels
};

/// Type of the products of the run.
[[nodiscard]] DType dtype_of(const RunConfig& config);

/// A cluster that a file describes; kernels take no scratch there.
/// @throws UserError (configuration) if no device computes in the run's precision, or the
///         configuration's stages and logical mesh do not suit a cluster that prices mesh axes
[[nodiscard]] Target target_of(const RunConfig& config, const ClusterConfig& cluster);

/// The ranks here, with their speed where it is known.
/// @param available what a rank may use now, whatever was free when the speed was measured
[[nodiscard]] Target target_here(const RunConfig& config, int ranks,
                                 std::optional<ClusterSpec> profile, Bytes available,
                                 WorkspaceSize workspace);

/// What the least device of a stage may use.
[[nodiscard]] Bytes capacity_of(const Target& target, const StagePlan& stage);

/// Equal for clusters with equal prices and capacities.
[[nodiscard]] std::uint64_t fingerprint(const ClusterSpec& cluster);

/// FLOP/s of all devices together in the run's precision; nothing where it is not known.
[[nodiscard]] std::optional<double> peak_of(const RunConfig& config, const ClusterSpec& cluster);

/// Name of every device's kind, each once: "v100-16gb", "a100-40gb and v100-16gb".
[[nodiscard]] std::string kinds_text(const ClusterSpec& cluster);

/// Host of every rank by number: "host 0".
[[nodiscard]] std::vector<std::string> host_names(const ClusterSpec& cluster);

}  // namespace alpa
