#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/graph/layer_line.hpp"
#include "alpa/lowering/placed_plan.hpp"
#include "alpa/program/program.hpp"

namespace alpa {

/// Scratch bytes that a device wants for a kernel on these pieces (offsets into no memory).
using WorkspaceSize = std::function<Bytes(const Kernel&, const std::vector<Operand>& operands,
                                          const std::vector<Operand>& results)>;

/// The programs of one rank: one arena, state at equal offsets.
struct RankPrograms {
  Program step;      ///< prepare, forward and backward of all microbatches, reduce, update
  Program evaluate;  ///< prepare and forward of all microbatches, of Graph::evaluation where given
};

/// Lowers a plan for one rank. An idle rank gets a program that only takes part in the world's
/// reduction.  @pre validate(plan, graph) passes
[[nodiscard]] RankPrograms lower(const Graph& graph, const Plan& plan, int rank,
                                 const WorkspaceSize& workspace_size);

/// The programs of several ranks, in their order; what all agree on is worked out once.
[[nodiscard]] std::vector<RankPrograms> lower(const Graph& graph, const Plan& plan,
                                              const std::vector<int>& ranks,
                                              const WorkspaceSize& workspace_size);

/// A rank's step without waits and slots: enough to count, price and pack, not to run.
struct CountedStep {
  Program program;                      ///< of the graph's layers
  std::vector<std::vector<int>> times;  ///< [segment][instruction]: for how many it stands
  Bytes arena;                          ///< with all of them
  ProgramTotals totals;                 ///< of all of them
};

/// The steps of several ranks, in their order. Without `evaluation` the arena is that of the step
/// alone.
/// @param line where given, the graph holds only some of its layers, and what comes out is that of
///   the whole line: instructions and buffers of a layer that others are like stand for theirs too,
///   and what lives within a segment is packed as often as it is there.
///   @pre layers that are like one another choose alike and are in one chunk
/// @return nothing where lives of values in the whole line do not follow from those in the graph
[[nodiscard]] std::optional<std::vector<CountedStep>> count_steps(
    const PlacedPlan& plan, const std::vector<int>& ranks, const WorkspaceSize& workspace_size,
    bool evaluation, const LayerLine* line = nullptr);

/// Scratch-free devices.
[[nodiscard]] Bytes no_workspace(const Kernel&, const std::vector<Operand>&,
                                 const std::vector<Operand>&);

}  // namespace alpa
