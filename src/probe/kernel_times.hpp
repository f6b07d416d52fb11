#pragma once

#include <functional>
#include <vector>

#include "alpa/comm/communicator.hpp"
#include "alpa/device/device.hpp"

#include "samples.hpp"
#include "working_set.hpp"

namespace alpa::probe_detail {

struct KernelTimes {
  /// Of each sample on this rank's device, [series][sample]; 0 where there was no time to measure
  /// it.
  std::vector<std::vector<double>> seconds;
  bool cut = false;  ///< there was no time for the largest sample of some series
};

/// Times samples with all members of `team` at work at once: the largest of each series first, then
/// the others, for about `seconds`. Collective: members measure the same samples.
/// @param processor_time count the calling thread's processor time: what runs beside the probe for
///        a moment does not disturb it. Right for devices that are just this thread.
/// @param progress told the share that is done; may be unset
[[nodiscard]] KernelTimes kernel_times(const std::vector<SampleSeries>& all, Communicator& team,
                                       Device& device, WorkingSet& memory, bool processor_time,
                                       double seconds,
                                       const std::function<void(double share)>& progress);

}  // namespace alpa::probe_detail
