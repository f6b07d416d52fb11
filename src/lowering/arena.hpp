#pragma once

#include <map>
#include <utility>
#include <vector>

#include "alpa/program/program.hpp"
#include "alpa/schedule/schedule.hpp"

#include "segment_builder.hpp"

namespace alpa {

/// The work whose value an exchange carries in a buffer, made here or on the stage that sends it.
struct Carried {
  Work work;  ///< of microbatch 0
  bool received = false;
};

/// Segments and calls without addresses.
struct LoweredSegments {
  Program program;
  std::vector<SegmentInfo> info;
  std::vector<std::vector<Work>>
      works;  ///< per call: its own work, or the work whose values it carries
  const Schedule* schedule = nullptr;                   ///< outlives this
  std::map<std::pair<int, BufferId>, Carried> carried;  ///< by exchange segment and buffer
};

/// Gives every buffer its place: state first, what lives for a step, then the slots of what lives
/// from one call to another, then one region that all segments share for the rest. Calls get their
/// slots only where `runnable`.
[[nodiscard]] Program lay_out(LoweredSegments lowered, bool runnable);

}  // namespace alpa
