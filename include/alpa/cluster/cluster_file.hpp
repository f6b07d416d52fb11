#pragma once

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/config/cluster_config.hpp"

namespace alpa {

/// A cluster as its file describes it. tf32 is not a type of its own here: it is the rate of f32
/// products where the run's precision asks for it (`tf32`).
[[nodiscard]] ClusterSpec cluster_spec(const ClusterConfig& config, bool tf32 = false);

/// The file of a cluster: cluster_spec of it is `spec` again. f32 is written as fp32.
/// @pre each kind is used; kernel tables stand by dtype, those of one kernel side by side, none of
/// i32
[[nodiscard]] ClusterConfig cluster_config(const ClusterSpec& spec);

}  // namespace alpa
