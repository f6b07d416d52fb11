#include "hand_strategies.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

bool is_parameter(const Tensor& t) { return t.role == Role::parameter || t.role == Role::replica; }

class HandChooser {
 public:
  HandChooser(StagePlan& stage, const Graph& graph, const HandAxes& axes)
      : stage_(stage), graph_(graph), axes_(axes) {}

  void choose(const Operator& op) {
    if (op.copy_of.valid()) {
      remember(op, strategy_of(stage_, graph_, op));
      return;
    }
    Strategy& s = stage_.strategies[op.name];
    s = {};
    const Role result = op.results.empty() ? Role::activation : graph_.tensor(op.results[0]).role;
    if (result == Role::global_scalar) {
      carry_partial(op, s);
    } else if (op.phase == Phase::forward || op.phase == Phase::backward) {
      if (result == Role::accumulator)
        accumulate(op, s);
      else if (axes_.largest >= 0)
        split_largest(op, s);
      else
        compute(op, s);
    } else if (op.phase == Phase::reduce && is_sum_of_accumulators(op)) {
      accumulate(op, s);
    } else {
      store(op, s);
    }
    remember(op, s);
  }

 private:
  bool use(const Operator& op, Strategy& s, MeshAxis axis, char letter) const {
    if (axis < 0) return false;
    Strategy longer = s;
    longer.uses.push_back({axis, letter, -1});
    if (!apply_strategy(op.rule, longer, stage_.mesh).layout) return false;
    s = longer;
    return true;
  }

  bool use_linear(const Operator& op, Strategy& s, MeshAxis axis) const {
    if (axis < 0 || op.rule.linear.empty()) return false;
    s.uses.push_back({axis, '\0', 0});
    return true;
  }

  void use_tensor_axis(const Operator& op, Strategy& s) const {
    if (axes_.tensor < 0) return;
    for (const char letter : graph_.parallel_letters) {
      if (op.rule.factor(letter) >= 0 && use(op, s, axes_.tensor, letter)) return;
    }
  }

  /// Forward and backward: the batch over the data axis, heads and the like over the tensor axis.
  void compute(const Operator& op, Strategy& s) const {
    if (op.rule.factor('b') >= 0) use(op, s, axes_.data, 'b');
    use_tensor_axis(op, s);
  }

  /// Gradient sums: as they come over the data axis (ZeRO-2 and 3: split), split as the parameter
  /// over the tensor axis.
  void accumulate(const Operator& op, Strategy& s) const {
    if (axes_.largest >= 0) {
      follow(op, s);
      return;
    }
    use_tensor_axis(op, s);
    if (axes_.zero >= 2)
      split_storage(op, s);
    else
      use_linear(op, s, axes_.data);
  }

  /// Parameters and optimizer states as stored, and what reads gradients with them.
  void store(const Operator& op, Strategy& s) const {
    if (axes_.largest >= 0) {
      const Tensor* parameter = parameter_of(op);
      if (parameter != nullptr) use(op, s, axes_.largest, largest_letter(*parameter));
      return;
    }
    use_tensor_axis(op, s);
    if (axes_.zero >= 1) split_storage(op, s);
  }

  /// The data axis on the largest dimension that takes it, after the tensor axis's own.
  void split_storage(const Operator& op, Strategy& s) const {
    std::vector<Factor> factors = op.rule.factors;
    std::stable_sort(factors.begin(), factors.end(),
                     [](const Factor& a, const Factor& b) { return a.size > b.size; });
    for (const Factor& factor : factors) {
      const bool taken = std::any_of(s.uses.begin(), s.uses.end(),
                                     [&](const AxisUse& u) { return u.factor == factor.name; });
      if (!taken && use(op, s, axes_.data, factor.name)) return;
    }
    for (const Factor& factor : factors) {
      if (use(op, s, axes_.data, factor.name)) return;
    }
  }

  /// A contribution to a global sum takes partial sums as they are.
  void carry_partial(const Operator& op, Strategy& s) const {
    const auto it = source_.find(op.operands[0]);
    if (it == source_.end() || op.rule.linear.empty()) return;
    for (const MeshAxis axis : it->second.partial_axes) use_linear(op, s, axis);
  }

  /// heuristic: an operator that reads a parameter splits that one's largest dimension, one that
  /// makes its gradient likewise; the rest follow their operands.
  void split_largest(const Operator& op, Strategy& s) const {
    if (const Tensor* parameter = parameter_of(op)) {
      if (use(op, s, axes_.largest, largest_letter(*parameter))) return;
    }
    follow(op, s);
  }

  void follow(const Operator& op, Strategy& s) const {
    for (std::size_t i = 0; i < op.operands.size(); ++i) {
      const auto it = source_.find(op.operands[i]);
      if (it == source_.end()) continue;
      for (std::size_t d = 0; d < it->second.dim_axes.size(); ++d) {
        if (it->second.dim_axes[d].empty()) continue;
        if (use(op, s, axes_.largest, op.rule.operands[i][d])) return;
      }
    }
  }

  [[nodiscard]] bool is_sum_of_accumulators(const Operator& op) const {
    return !op.operands.empty() && !op.rule.linear.empty() &&
           std::all_of(op.operands.begin(), op.operands.end(),
                       [&](TensorId t) { return graph_.tensor(t).role == Role::accumulator; });
  }

  [[nodiscard]] const Tensor* parameter_of(const Operator& op) const {
    for (const auto* list : {&op.operands, &op.results}) {
      for (const TensorId t : *list) {
        if (is_parameter(graph_.tensor(t))) return &graph_.tensor(t);
      }
    }
    return nullptr;
  }

  [[nodiscard]] static char largest_letter(const Tensor& t) {
    std::size_t best = 0;
    for (std::size_t d = 1; d < t.shape.size(); ++d) {
      if (t.shape[d] > t.shape[best]) best = d;
    }
    return t.dims[best];
  }

  void remember(const Operator& op, const Strategy& s) {
    const auto result = apply_strategy(op.rule, s, stage_.mesh);
    ALPA_CHECK(result.layout.has_value());
    for (std::size_t r = 0; r < op.results.size(); ++r) {
      source_[op.results[r]] = result.layout->results[r];
    }
  }

  StagePlan& stage_;
  const Graph& graph_;
  const HandAxes& axes_;
  std::map<TensorId, ShardingSpec> source_;
};

}  // namespace

void choose_by_hand(StagePlan& stage, const Graph& graph, const HandAxes& axes) {
  HandChooser chooser(stage, graph, axes);
  for (const Operator& op : graph.operators) {
    if (holds_layer(stage, op.layer)) chooser.choose(op);
  }
  if (axes.zero < 3) return;
  for (const Tensor& t : graph.tensors) {
    if (is_parameter(t) && holds_layer(stage, t.layer)) {
      stage.retention[t.name] = Retention::repeat;
    }
  }
}

}  // namespace alpa
