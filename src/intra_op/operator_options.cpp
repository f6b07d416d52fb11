#include "operator_options.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/graph/aliasing.hpp"
#include "alpa/graph/kernel_work.hpp"

namespace alpa::intra_op {
namespace {

bool is_state(const Tensor& tensor) {
  return tensor.role == Role::parameter || tensor.role == Role::optimizer_state;
}

/// True if the last device contributes: the others hold copies of what the first one counts.
bool last_device_contributes(const ShardingSpec& spec, const DeviceMesh& mesh) {
  for (std::size_t a = 0; a < mesh.extents.size(); ++a) {
    const auto axis = static_cast<MeshAxis>(a);
    const auto& partial = spec.partial_axes;
    if (mesh.extents[a] > 1 && std::find(partial.begin(), partial.end(), axis) == partial.end()) {
      return false;
    }
  }
  return true;
}

}  // namespace

std::shared_ptr<const Options> OptionLists::of(const std::string& mesh, const std::string& op,
                                               const std::function<Options()>& make) {
  const std::pair key(mesh, op);
  {
    const std::scoped_lock lock(mutex_);
    const auto found = lists_.find(key);
    if (found != lists_.end()) {
      if (auto list = found->second.lock()) return list;
    }
  }
  const auto made = std::make_shared<const Options>(make());  // others may go on meanwhile
  const std::scoped_lock lock(mutex_);
  auto& kept = lists_[key];
  if (auto list = kept.lock()) return list;
  kept = made;
  return made;
}

OperatorOptions::OperatorOptions(const Graph& graph, const GraphIndex& index,
                                 const MeshCosts& costs)
    : graph_(graph),
      index_(index),
      costs_(costs),
      lists_(index.op_of_list.size()),
      of_op_(graph.operators.size(), nullptr) {
  for (const TensorId t : index.tensor_of_class) {
    const Tensor& tensor = graph.tensor(t);
    tables_.push_back(&index.layouts->of(tensor.shape, tensor.dtype, costs));
  }
}

double OperatorOptions::kernel_seconds(const Operator& op, const std::string& kind,
                                       const OperatorLayout& layout, std::size_t operands) const {
  const DeviceMesh& mesh = costs_.mesh();
  const int last = num_devices(mesh) - 1;
  std::vector<KernelPiece> in, out;
  const auto piece = [&](TensorId t, const ShardingSpec& spec) -> KernelPiece {
    const Tensor& tensor = graph_.tensor(t);
    return {tensor.dtype, local_box(tensor.shape, spec, mesh, last).extent};
  };
  for (std::size_t i = 0; i < operands; ++i) {
    in.push_back(piece(op.operands[i], layout.operands[i]));
  }
  for (std::size_t r = 0; r < op.results.size(); ++r) {
    out.push_back(piece(op.results[r], layout.results[r]));
  }
  const bool all = operands == op.operands.size();
  const Flops flops = all ? flops_of_pieces(op.rule, in, out) : Flops{0.0};
  const KernelWork work = work_of(op.kernel, kind, in, out, flops);
  return costs_.kernel(work.kind, work.dtype, work.flops, work.moved).value;
}

Option OperatorOptions::make(const Operator& op, const std::string& kind, const Strategy& strategy,
                             const OperatorLayout& layout) const {
  Option option{strategy, {}, {}, 0.0, {}};
  for (std::size_t i = 0; i < op.operands.size(); ++i) {
    option.operands.push_back(layouts(op.operands[i]).number(layout.operands[i]));
  }
  for (std::size_t r = 0; r < op.results.size(); ++r) {
    option.results.push_back(layouts(op.results[r]).number(layout.results[r]));
  }
  if (!op.results.empty() && graph_.tensor(op.results[0]).role == Role::global_scalar) {
    const bool runs = last_device_contributes(layout.operands[0], costs_.mesh());
    option.seconds = runs ? kernel_seconds(op, kind, layout, op.operands.size()) : 0.0;
    return option;
  }
  const bool alias = op.phase == Phase::prepare && is_copy(op.kernel) &&
                     graph_.tensor(op.operands[0]).dtype == graph_.tensor(op.results[0]).dtype &&
                     layout.operands[0] == layout.results[0] &&
                     layout.results[0].partial_axes.empty();
  if (!alias) option.seconds = kernel_seconds(op, kind, layout, op.operands.size());
  if (!is_sum_of_accumulators(graph_, op)) return option;
  option.sum_seconds = {0.0, 0.0};
  for (std::size_t n = 2; n <= op.operands.size(); ++n) {
    option.sum_seconds.push_back(kernel_seconds(op, kind, layout, n));
  }
  return option;
}

Options OperatorOptions::options_of(const Operator& op,
                                    const std::vector<Strategy>& strategies) const {
  const std::string kind = kernel_kind(op.kernel);
  Options options;
  std::set<std::pair<std::vector<int>, std::vector<int>>> seen;
  for (const Strategy& strategy : strategies) {
    const auto result = apply_strategy(op.rule, strategy, costs_.mesh());
    if (!result.layout) continue;
    bool storable = true;
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      storable = storable && (!is_state(graph_.tensor(op.results[r])) ||
                              result.layout->results[r].partial_axes.empty());
    }
    if (!storable) continue;
    Option option = make(op, kind, strategy, *result.layout);
    if (!seen.emplace(option.operands, option.results).second) continue;
    options.push_back(std::move(option));
  }
  return options;
}

void OperatorOptions::add(std::size_t op) {
  const auto number = static_cast<std::size_t>(index_.op_list[op]);
  auto& list = lists_[number];
  if (list == nullptr) {
    const Operator& each = graph_.operators[op];
    list = index_.option_lists->of(costs_.key(), index_.key_of_list[number], [&] {
      return options_of(each, splitting_strategies(each.rule));
    });
  }
  of_op_[op] = list.get();
}

void OperatorOptions::add(std::size_t op, const std::vector<Strategy>& chosen) {
  std::string key;
  for (const Strategy& s : chosen) key += to_string(s) + '/';
  auto& list = chosen_[{index_.op_list[op], std::move(key)}];
  if (list == nullptr) list = std::make_unique<Options>(options_of(graph_.operators[op], chosen));
  of_op_[op] = list.get();
}

/// Those that split no factor over an axis of one device: it splits nothing.
std::vector<Strategy> OperatorOptions::splitting_strategies(const ShardingRule& rule) const {
  std::vector<Strategy> all = all_strategies(rule, costs_.mesh());
  std::erase_if(all, [&](const Strategy& strategy) {
    return std::any_of(strategy.uses.begin(), strategy.uses.end(),
                       [&](const AxisUse& use) { return extent(costs_.mesh(), use.axis) == 1; });
  });
  return all;
}

Option OperatorOptions::option(std::size_t index, const Strategy& strategy) const {
  const Operator& op = graph_.operators[index];
  const auto result = apply_strategy(op.rule, strategy, costs_.mesh());
  if (!result.layout) {
    throw PlanError("operator " + op.name + ": strategy '" + to_string(strategy) +
                    "': " + result.reason);
  }
  return make(op, kernel_kind(op.kernel), strategy, *result.layout);
}

}  // namespace alpa::intra_op
