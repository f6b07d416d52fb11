#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "alpa/intra_op/stage_model.hpp"

#include "operator_options.hpp"
#include "run_view.hpp"

namespace alpa::intra_op {

/// What a run of layers is asked for, and its graph's tables.
struct RunContext {
  const Graph& graph;
  const OperatorOptions& options;
  const RunView& view;
  int num_microbatches = 1;
};

/// A choice for every operator of a run.
struct RunChoice {
  std::vector<const Option*> options;  ///< by operator of the graph; unset outside the run
  std::function<Retention(const Tensor&)> retention;
  std::map<std::string, ShardingSpec> arrivals;  ///< where they are not the default
};

struct Account {
  StageAnswer answer;          ///< figures, by_layer and borders
  std::set<TensorId> matters;  ///< tensors whose retention makes a difference
  /// Retentions that make a difference and are not the default, of what is seen.
  std::vector<std::pair<TensorId, Retention>> retention;
};

/// Adds up times and bytes of a choice. Knows nothing of the integer program, which must come to
/// the same.
[[nodiscard]] Account account(const RunContext& run, const RunChoice& choice);

/// Bytes of a buffer that has a place of its own in the arena.
[[nodiscard]] std::int64_t placed_bytes(std::int64_t bytes);

/// Bytes of the step state, which every rank has.
[[nodiscard]] std::int64_t step_state_bytes(const Graph& graph);

/// A kernel runs between its deliveries and the next operator's.
[[nodiscard]] inline int delivery_time(int position) { return 2 * position; }
[[nodiscard]] inline int kernel_time(int position) { return 2 * position + 1; }

/// True if the operator adds to a sum over the step: its operand may not even be read.
[[nodiscard]] bool is_contribution(const Graph& graph, const Operator& op);

/// True of what microbatches exchange with other stages: where a device sends it or receives it in
/// one run, it has slots in the arena, which only who knows both stages can count.
[[nodiscard]] bool lies_in_slot(const Flow& flow);

/// When a value that lives within one part of a step begins and ends to live, at least: from its
/// maker to the first reader of that part. Not at all if it lies in a slot.
struct Life {
  int begin = 0;
  int end = 0;
};
[[nodiscard]] Life life_of_source(const RunContext& run, const Flow& flow);

/// True if no reader stands in another part of the step than the maker: neither the value nor its
/// copies outlive it.
[[nodiscard]] bool lives_in_one_scope(const Flow& flow);

/// One reader, in the maker's part of the step: an edge between the two says all.
[[nodiscard]] bool is_direct(const Flow& flow);

/// True if what a reader wants lives as long as its kernel runs and is counted nowhere else.
[[nodiscard]] bool readers_hold(const Graph& graph, const Flow& flow);

/// True if the tensor is another name of a buffer: a copy in `prepare` that changes nothing.
[[nodiscard]] bool made_by_name(const Graph& graph, const Flow& flow, bool partial);

/// True if copies that are made for one reader are counted while its kernel runs.
[[nodiscard]] bool copies_are_known(const Graph& graph, const Flow& flow);

/// The only reader in the scope, if there is just one and it runs on every device.
[[nodiscard]] const Reader* only_reader(const Graph& graph, const Flow& flow, Scope scope);

/// Seconds of a sum of gradient sums of which `separate` followers have a buffer of their own:
/// never more than its kernel takes.
[[nodiscard]] double sum_seconds(const Option& option, const SharedSum& sum, int separate);

}  // namespace alpa::intra_op
