#pragma once

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "alpa/lowering/lower.hpp"
#include "alpa/program/program.hpp"
#include "alpa/schedule/schedule.hpp"

#include "repeats.hpp"
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
  std::vector<int> layer_of_buffer;                     ///< as SegmentBuilder has them
  std::vector<std::vector<int>> layer_of_instruction;
};

/// Gives every buffer its place: state first, what lives for a step, then the slots of what lives
/// from one call to another, then one region that all segments share for the rest.
[[nodiscard]] Program lay_out(LoweredSegments lowered);

/// The same of all layers that those lowered stand for, without slots and the places of what is
/// repeated; see count_steps.
[[nodiscard]] std::optional<CountedStep> count(LoweredSegments lowered,
                                               const RepeatedLayers& repeats);

}  // namespace alpa
