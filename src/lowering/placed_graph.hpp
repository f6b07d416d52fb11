#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "alpa/graph/graph.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/schedule/schedule.hpp"

namespace alpa {

/// A tensor that one stage makes and another uses.
struct Crossing {
  TensorId tensor;
  int from_stage = 0;
  int to_stage = 0;
  Phase phase = Phase::forward;  ///< in which it is made or, for state, used
  int from_chunk = 0;            ///< that makes it, of forward and backward
  int to_chunk = 0;              ///< that uses it first
  ShardingSpec sent, arrives;    ///< on the two meshes; never partial
};

/// A graph with a plan's decisions worked out: what all ranks agree on. Holds references.
struct PlacedGraph {
  const Graph* graph = nullptr;
  const Plan* plan = nullptr;
  std::vector<int> stage_of_op, chunk_of_op;
  bool splits_backward = false;  ///< into what other stages wait for and the rest
  std::vector<bool> is_late;     ///< [operator] of the second half of a split backward
  std::vector<std::shared_ptr<const OperatorLayout>> layout_of_op;
  std::vector<int> stage_of_tensor;  ///< where it is made or stored; -1: inputs and scalars
  std::vector<ShardingSpec> source;  ///< layout in which it is made or stored
  std::vector<std::map<int, std::set<ShardingSpec>>> demands;  ///< [tensor][stage]
  std::vector<Crossing> crossings;                             ///< in a fixed order
  std::vector<std::vector<std::size_t>> ops_of_stage;          ///< in order
  std::vector<std::vector<TensorId>> state_of_stage;  ///< parameters, optimizer states, sums
  std::vector<TensorId> step_scalars, global_scalars;
};

[[nodiscard]] PlacedGraph place(const Graph& graph, const Plan& plan);

/// True for f64 [] values of the step state.
[[nodiscard]] bool is_step_state(const Tensor& tensor);

/// Operators that evaluation runs.
[[nodiscard]] bool in_evaluation(const Operator& op);

}  // namespace alpa
