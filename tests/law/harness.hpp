#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "alpa/device/device.hpp"
#include "alpa/graph/graph.hpp"
#include "alpa/lowering/lower.hpp"
#include "alpa/plan/plan.hpp"
#include "alpa/runtime/executor.hpp"

namespace alpa::law {

/// A model as the planner sees it: a function of the microbatch size.
using MakeGraph = std::function<Graph(std::int64_t microbatch)>;

struct Case {
  MakeGraph make_graph;
  std::int64_t global_batch = 8;
  std::int64_t samples_of_group = 1;  ///< microbatches hold a multiple of so many
  int steps = 20;
  std::uint64_t seed = 1;
  double learning_rate = 0.05;
  bool sum_loss = false;        ///< the sum of the losses, not their mean
  bool masks_elements = false;  ///< weights of single elements are 0, not of whole samples
  double loss_scale = 1.0;      ///< of fp16
  std::map<std::string, std::int64_t> vocabulary;  ///< of integer inputs, by name
  std::function<std::unique_ptr<Device>()> make_device = make_reference_device;
  std::optional<std::uint64_t> shuffle_seed;  ///< of the executor
};

/// What a run leaves to be compared.
struct Outcome {
  std::vector<double> losses, norms;
  double evaluation = 0;  ///< loss of a batch after the last step, without dropout
  std::map<std::string, std::vector<double>> initial, final_state;  ///< whole tensors by name
  std::vector<Executed> executed;                                   ///< per rank, over all steps
  std::vector<ProgramTotals> totals;  ///< per rank, of one step, counted from its program
};

/// The graph that a plan of the case is for.
[[nodiscard]] Graph graph_of(const Case& test, const Plan& plan);

/// Trains under the plan on plan.world_size ranks that are threads. Inputs are random numbers that
/// depend on step, name and global index alone; weights mask a few samples out.
[[nodiscard]] Outcome train(const Case& test, const Plan& plan);

/// One rank, one microbatch, everything replicated: what defines the truth.
[[nodiscard]] Plan single_rank_plan(const Graph& graph);

/// A random valid plan: number of microbatches, recomputation of each layer, stages, meshes of
/// unequal size, strategies, retention and arrival layouts, schedule and depth.
[[nodiscard]] Plan random_plan(const Case& test, int world_size, std::mt19937_64& random);

/// The same with the schedule interleaved: 2 or 3 chunks of unequal size on each stage.
[[nodiscard]] Plan random_interleaved_plan(const Case& test, int world_size,
                                           std::mt19937_64& random);

/// A random plan whose schedule is zero-bubble.
[[nodiscard]] Plan random_zero_bubble_plan(const Case& test, int world_size,
                                           std::mt19937_64& random);

/// Largest relative difference, |a - b| / max(|a|, |b|, floor) with the floor taken from the
/// largest value of the same tensor.
struct Difference {
  double losses = 0, norms = 0, evaluation = 0, state = 0;
  std::string worst_tensor;
  bool initial_equal = true;
};
[[nodiscard]] Difference compare(const Outcome& truth, const Outcome& other);

}  // namespace alpa::law
