#pragma once

#include <array>
#include <functional>
#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/cluster/cluster_spec.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/program/program.hpp"

namespace alpa {

/// What each instruction takes once it has begun, whenever that is. Ranks are world ranks.
struct InstructionCosts {
  std::function<Seconds(const RunKernel& run, int rank)> kernel;
  /// @param program of one of the collective's ranks
  std::function<Seconds(const Collective& collective, const Program& program)> collective;
  std::function<Seconds(Bytes size, int from, int to)> message;
};

/// Costs of a plan's programs on a cluster whose device i is rank i, as `price` takes them: kernels
/// from tables or rooflines, collectives and messages over links that are shared by what runs side
/// by side (see MeshCosts). A kernel that the device cannot run takes forever.
/// @pre validate(plan, graph) passes, the cluster has plan.world_size devices
[[nodiscard]] InstructionCosts costs_on(const ClusterSpec& cluster, const Graph& graph,
                                        const Plan& plan);

/// One instruction of one rank, from begin to end.
struct Span {
  int rank = 0;
  int queue = 0;  ///< as queue_of
  int call = 0;
  int instruction = 0;
  double begin = 0.0;
  double end = 0.0;
};

/// What a rank's queues do.
struct RankTime {
  std::array<double, kQueues> busy{};
  double exposed = 0.0;  ///< of the makespan, time in which no kernel ran
};

struct Timeline {
  Seconds makespan;
  std::vector<RankTime> ranks;
  std::vector<Span> spans;  ///< by rank, then in the order of the program; if asked for
};

/// Runs the programs of all ranks in simulated time, with the rules of the executor: an instruction
/// begins when it is the first of its queue, its call's and its own waits have ended and, for
/// collectives and messages, the other sides have come to it too. Messages of one exchange share
/// the rank's link: they take the longer of all its sends and all its receives.
/// @pre verify(programs) finds nothing
[[nodiscard]] Timeline simulate(const std::vector<Program>& programs, const InstructionCosts& costs,
                                bool keep_spans = false);

}  // namespace alpa
