// Which values are where in the arena, and when, as far as operators and flows alone say.

#include <algorithm>

#include "alpa/base/error.hpp"
#include "alpa/graph/aliasing.hpp"
#include "alpa/memory/packing.hpp"

#include "account.hpp"

namespace alpa::intra_op {

std::int64_t placed_bytes(std::int64_t bytes) { return align_up({bytes}).value; }

std::int64_t step_state_bytes(const Graph& graph) {
  const auto count = std::count_if(graph.tensors.begin(), graph.tensors.end(), is_scalar);
  return placed_bytes(8 * static_cast<std::int64_t>(count));
}

bool is_contribution(const Graph& graph, const Operator& op) {
  return !op.results.empty() && graph.tensor(op.results[0]).role == Role::global_scalar;
}

bool lies_in_slot(const Flow& flow) {
  const Scope scope = scope_of(flow.made_in);
  return (scope == Scope::forward || scope == Scope::backward) &&
         (flow.sent || flow.source == Flow::Source::arrives);
}

Life life_of_source(const RunContext& run, const Flow& flow) {
  const Scope scope = scope_of(flow.made_in);
  Life life{kernel_time(flow.position), kernel_time(flow.position) + 1};
  if (lies_in_slot(flow)) return {};
  if (flow.source == Flow::Source::arrives) life = {delivery_time(flow.position), 0};
  for (const Reader& reader : flow.readers) {
    if (scope_of(reader.phase) != scope) continue;
    const auto& op = run.graph.operators[static_cast<std::size_t>(reader.op)];
    if (!is_contribution(run.graph, op)) {
      life.end = std::max(life.end, kernel_time(reader.position));
    }
    break;
  }
  return life;
}

bool lives_in_one_scope(const Flow& flow) {
  const Scope scope = scope_of(flow.made_in);
  return std::all_of(flow.readers.begin(), flow.readers.end(),
                     [&](const Reader& r) { return scope_of(r.phase) == scope; });
}

bool is_direct(const Flow& flow) {
  return flow.readers.size() == 1 && lives_in_one_scope(flow) && !flow.sent && !flow.weight &&
         (flow.source == Flow::Source::made || flow.source == Flow::Source::arrives) &&
         scope_of(flow.made_in) != Scope::prepare;
}

bool readers_hold(const Graph& graph, const Flow& flow) {
  return lives_in_one_scope(flow) && !flow.sent && !flow.weight && !flow.total &&
         scope_of(flow.made_in) != Scope::prepare &&
         graph.tensor(flow.tensor).role != Role::accumulator;
}

bool made_by_name(const Graph& graph, const Flow& flow, bool partial) {
  if (flow.source != Flow::Source::made || flow.made_in != Phase::prepare || partial) return false;
  const auto& op = graph.operators[static_cast<std::size_t>(flow.maker)];
  return is_copy(op.kernel) &&
         graph.tensor(op.operands[0]).dtype == graph.tensor(flow.tensor).dtype;
}

bool copies_are_known(const Graph& graph, const Flow& flow) {
  return !is_direct(flow) && !flow.sent && !readers_hold(graph, flow) &&
         graph.tensor(flow.tensor).role != Role::accumulator;
}

const Reader* only_reader(const Graph& graph, const Flow& flow, Scope scope) {
  const Reader* found = nullptr;
  for (const Reader& reader : flow.readers) {
    if (scope_of(reader.phase) != scope) continue;
    if (found != nullptr) return nullptr;
    found = &reader;
  }
  if (found == nullptr) return nullptr;
  const auto& op = graph.operators[static_cast<std::size_t>(found->op)];
  return is_contribution(graph, op) ? nullptr : found;
}

double sum_seconds(const Option& option, const SharedSum& sum, int separate) {
  const auto at = [&](int operands) {
    return option.sum_seconds[static_cast<std::size_t>(operands)];
  };
  const int all = static_cast<int>(sum.followers.size());
  if (all == 0) return at(sum.others);
  return at(sum.others) + separate * (at(sum.others + all) - at(sum.others)) / all;
}

}  // namespace alpa::intra_op
