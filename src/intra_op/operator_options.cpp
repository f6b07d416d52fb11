#include "operator_options.hpp"

#include <algorithm>

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

/// The letters of a rule by the place of their factor: rules that differ in names alone look alike.
class PlainLetters {
 public:
  explicit PlainLetters(const ShardingRule& rule) : rule_(rule) {}
  [[nodiscard]] char of(char letter) const {
    const int f = rule_.factor(letter);
    return f < 0 ? letter : static_cast<char>('A' + f);
  }
  void append(std::string& key, const std::vector<Dims>& all) const {
    for (const Dims& dims : all) {
      for (const char c : dims) key += of(c);
      key += ',';
    }
    key += ';';
  }
  void append(std::string& key, Strategy strategy) const {
    for (AxisUse& use : strategy.uses) use.factor = of(use.factor);
    key += '/' + to_string(strategy);
  }

 private:
  const ShardingRule& rule_;
};

}  // namespace

bool is_scalar(const Tensor& tensor) {
  return tensor.role == Role::step_scalar || tensor.role == Role::global_scalar;
}

bool is_sum_of_accumulators(const Graph& graph, const Operator& op) {
  return op.phase == Phase::reduce && is_sum(op.kernel) &&
         std::all_of(op.operands.begin(), op.operands.end(),
                     [&](TensorId t) { return graph.tensor(t).role == Role::accumulator; });
}

OperatorOptions::OperatorOptions(const Graph& graph, const MeshCosts& costs)
    : graph_(graph),
      costs_(costs),
      of_op_(graph.operators.size()),
      number_(graph.operators.size()) {
  std::map<std::pair<Shape, DType>, int> classes;
  for (const Tensor& t : graph.tensors) {
    const auto [it, is_new] =
        classes.try_emplace({t.shape, t.dtype}, static_cast<int>(tables_.size()));
    if (is_new) tables_.push_back(std::make_unique<LayoutTable>(t.shape, t.dtype, costs));
    class_of_.push_back(it->second);
  }
}

/// Whatever decides about options and times; not the names.
std::string OperatorOptions::key_of(const Operator& op) const {
  std::string key = kernel_kind(op.kernel) + '|' + std::to_string(static_cast<int>(op.phase)) + '|';
  for (const Factor& f : op.rule.factors) {
    key += std::to_string(f.size) + (f.whole ? "w" : f.even ? "e" : "") + ',';
  }
  for (const FactorWindow& w : op.rule.windows) {
    key += std::to_string(op.rule.factor(w.factor)) + '~' +
           std::to_string(op.rule.factor(w.dimension)) + '~' + std::to_string(w.before) + '~' +
           std::to_string(w.after) + ',';
  }
  const PlainLetters letters(op.rule);
  letters.append(key, op.rule.operands);
  letters.append(key, op.rule.results);
  for (const auto r : op.rule.reduction) key += static_cast<char>('0' + static_cast<int>(r));
  for (const auto& group : op.rule.linear) {
    key += '(';
    for (const int i : group) key += std::to_string(i) + ' ';
  }
  key += '|' + std::to_string(op.rule.flops_per_point);
  for (const auto* list : {&op.operands, &op.results}) {
    for (const TensorId t : *list) {
      const Tensor& tensor = graph_.tensor(t);
      key += '|' + std::to_string(class_of_[t.index()]) + (is_scalar(tensor) ? "s" : "") +
             (is_state(tensor) ? "p" : "");
    }
  }
  if (is_sum_of_accumulators(graph_, op)) key += "sum";
  return key;
}

double OperatorOptions::kernel_seconds(const Operator& op, const OperatorLayout& layout,
                                       std::size_t operands) const {
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
  const KernelWork work = work_of(op.kernel, in, out, flops);
  return costs_.kernel(work.kind, work.dtype, work.flops, work.moved).value;
}

Option OperatorOptions::make(const Operator& op, const Strategy& strategy,
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
    option.seconds = runs ? kernel_seconds(op, layout, op.operands.size()) : 0.0;
    return option;
  }
  const bool alias = op.phase == Phase::prepare && is_copy(op.kernel) &&
                     graph_.tensor(op.operands[0]).dtype == graph_.tensor(op.results[0]).dtype &&
                     layout.operands[0] == layout.results[0] &&
                     layout.results[0].partial_axes.empty();
  if (!alias) option.seconds = kernel_seconds(op, layout, op.operands.size());
  if (!is_sum_of_accumulators(graph_, op)) return option;
  option.sum_seconds = {0.0, 0.0};
  for (std::size_t n = 2; n <= op.operands.size(); ++n) {
    option.sum_seconds.push_back(kernel_seconds(op, layout, n));
  }
  return option;
}

void OperatorOptions::add(std::size_t index, const std::vector<Strategy>* chosen) {
  const Operator& op = graph_.operators[index];
  std::string key = key_of(op);
  if (chosen != nullptr) {
    for (const Strategy& s : *chosen) PlainLetters(op.rule).append(key, s);
    key += "/only";
  }
  number_[index] = numbers_.try_emplace(key, static_cast<int>(numbers_.size())).first->second;
  for (const Factor& f : op.rule.factors) key += f.name;
  auto& shared = shared_[key];
  if (shared == nullptr) {
    const auto strategies = chosen != nullptr ? *chosen : all_strategies(op.rule, costs_.mesh());
    Options options;
    std::map<std::pair<std::vector<int>, std::vector<int>>, bool> seen;
    for (const Strategy& strategy : strategies) {
      const auto result = apply_strategy(op.rule, strategy, costs_.mesh());
      if (!result.layout) continue;
      bool storable = true;
      for (std::size_t r = 0; r < op.results.size(); ++r) {
        storable = storable && (!is_state(graph_.tensor(op.results[r])) ||
                                result.layout->results[r].partial_axes.empty());
      }
      if (!storable) continue;
      Option option = make(op, strategy, *result.layout);
      if (!seen.try_emplace({option.operands, option.results}, true).second) continue;
      options.push_back(std::move(option));
    }
    shared = std::make_shared<const Options>(std::move(options));
  }
  of_op_[index] = shared;
}

Option OperatorOptions::option(std::size_t index, const Strategy& strategy) const {
  const Operator& op = graph_.operators[index];
  const auto result = apply_strategy(op.rule, strategy, costs_.mesh());
  if (!result.layout) {
    throw PlanError("operator " + op.name + ": strategy '" + to_string(strategy) +
                    "': " + result.reason);
  }
  return make(op, strategy, *result.layout);
}

}  // namespace alpa::intra_op
