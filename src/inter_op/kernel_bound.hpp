#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/graph/kernel_work.hpp"
#include "alpa/graph/layer_line.hpp"

namespace alpa {

class SearchWork;

/// Seconds that the kernels of layers take at the least on devices of the fastest kind for each. Of
/// n devices one does no less than an n-th of a kernel's work, and small pieces reach no more of a
/// device's rate than large ones; of measured kernels, whose rates need not grow with their size,
/// the best rate of any size counts.
class KernelBound {
 public:
  /// @param cluster kept by reference
  KernelBound(const Graph& graph, const ClusterSpec& cluster, int microbatches)
      : KernelBound(graph, LayerLine(graph.num_layers), cluster, microbatches) {}
  /// @param line of which the graph holds some layers
  KernelBound(const Graph& graph, LayerLine line, const ClusterSpec& cluster, int microbatches);

  /// Of `devices` together, for a step: B microbatches and the update. [layer] of layers before it.
  [[nodiscard]] std::vector<double> step(int devices) const {
    return sums(devices, microbatches_, microbatches_, 1.0);
  }
  /// The same for forward and backward of one microbatch.
  [[nodiscard]] std::vector<double> each(int devices) const { return sums(devices, 1.0, 1.0, 0.0); }
  /// The same for its backward alone.
  [[nodiscard]] std::vector<double> backward(int devices) const {
    return sums(devices, 0.0, 1.0, 0.0);
  }
  /// The same for the update.
  [[nodiscard]] std::vector<double> once(int devices) const { return sums(devices, 0.0, 0.0, 1.0); }

 private:
  /// @param forwards, backwards, updates how often they are done
  [[nodiscard]] std::vector<double> sums(int devices, double forwards, double backwards,
                                         double updates) const;

  LayerLine line_;
  const ClusterSpec& cluster_;
  double microbatches_ = 1.0;
  std::vector<KernelWork> works_;  ///< that differ
  /// [layer] place of a kernel's work, its phase, how often it occurs
  std::vector<std::map<std::pair<int, Phase>, int>> layers_;
};

/// No plan takes less time, whatever is computed again: the kernels that each must run without,
/// shared out evenly over all devices at the rates that they reach whole.
[[nodiscard]] double work_bound(SearchWork& work);

}  // namespace alpa
