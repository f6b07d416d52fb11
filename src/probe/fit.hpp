#pragma once

#include <vector>

#include "alpa/cluster/cluster_spec.hpp"

#include "samples.hpp"

namespace alpa::probe_detail {

/// Tables and roofline of a device whose samples took `seconds` ([series][sample], 0: not
/// measured). Figures that nothing was measured for are those of a slow machine, never 0.
[[nodiscard]] DeviceKind device_kind_of(const std::vector<SampleSeries>& all,
                                        const std::vector<std::vector<double>>& seconds,
                                        DType dtype);

/// Latency and bandwidth of the link that the messages of `collectives` between devices of `hosts`
/// hosts (1 or 2) went over; the link that costs nothing where there are none.
[[nodiscard]] Link link_of_messages(const std::vector<CollectiveTable>& collectives, int hosts);

}  // namespace alpa::probe_detail
