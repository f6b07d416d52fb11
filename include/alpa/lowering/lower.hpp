#pragma once

#include <functional>
#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"
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

/// The same without waits and slots: enough to count, price and pack, not to run. Without
/// `evaluation` the program of evaluation stays empty and the arena is that of the step alone.
[[nodiscard]] std::vector<RankPrograms> lower_unordered(const Graph& graph, const Plan& plan,
                                                        const std::vector<int>& ranks,
                                                        const WorkspaceSize& workspace_size,
                                                        bool evaluation);

/// Scratch-free devices.
[[nodiscard]] Bytes no_workspace(const Kernel&, const std::vector<Operand>&,
                                 const std::vector<Operand>&);

}  // namespace alpa
