#include "pipeline_bound.hpp"

#include <algorithm>

namespace alpa {

bool shares_cores(const ClusterSpec& cluster) {
  return std::any_of(cluster.hosts.begin(), cluster.hosts.end(), [](const Host& host) {
    return host.shared_cores > 0.0 && host.shared_cores < host.devices;
  });
}

double least_share(const ClusterSpec& cluster, const DraftStage& stage) {
  const int end = stage.first_device + num_devices(stage.mesh);
  double share = 0.0;
  int begin = 0;
  for (const Host& host : cluster.hosts) {
    const int members = std::min(end, begin + host.devices) - std::max(stage.first_device, begin);
    begin += host.devices;
    if (members <= 0 || host.shared_cores <= 0.0) continue;
    // Measured with C/D of a core for each device; alone they have min(1, C/d) each.
    const double total = host.devices;
    share = std::max(share, std::min(1.0, std::max(host.shared_cores, 1.0 * members) / total));
  }
  return share == 0.0 ? 1.0 : share;
}

PipelineBound PipelineBound::with(const StageTimes& stage) const {
  PipelineBound next = *this;
  const double both = (stage.forward + stage.backward).value;
  const double mine = before_ + microbatches_ * both;
  next.before_ += both;
  next.pipeline_ = std::max(pipeline_, mine);
  next.together_ = std::max(together_, mine + (stage.prepare + stage.reduce + stage.update).value);
  next.prepare_ = std::max(prepare_, stage.prepare.value);
  next.reduce_ = std::max(reduce_, stage.reduce.value);
  next.update_ = std::max(update_, stage.update.value);
  return next;
}

double PipelineBound::value(double rest) const {
  return std::max({together_, before_ + rest, pipeline_ + prepare_ + reduce_ + update_});
}

}  // namespace alpa
