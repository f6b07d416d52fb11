#include "alpa/graph/derivative.hpp"

#include <algorithm>
#include <unordered_set>

#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa {
namespace {

template <class K>
concept Derivable =
    requires(const K& kernel, Backward& backward) { operators::derive(kernel, backward); };

void derive_kernel(const Kernel& kernel, Backward& backward) {
  std::visit(
      [&]<class K>(const K& k) {
        if constexpr (Derivable<K>) {
          operators::derive(k, backward);
        } else {
          operators::no_derivative(backward);
        }
      },
      kernel);
}

}  // namespace

Backward::Backward(GraphBuilder& builder, OperatorId forward, std::vector<Gradient> results,
                   std::vector<bool> wanted)
    : builder_(builder),
      op_(builder.graph().op(forward)),
      results_(std::move(results)),
      wanted_(std::move(wanted)) {}

std::vector<TensorId> Backward::add_all(const std::string& what, const Kernel& kernel,
                                        std::vector<TensorId> operands, OperatorOptions options) {
  builder_.at(op_.layer, Phase::backward);
  return builder_.add_all(op_.name + ".backward." + what, kernel, std::move(operands),
                          std::move(options));
}

TensorId Backward::add(const std::string& what, const Kernel& kernel,
                       std::vector<TensorId> operands, OperatorOptions options) {
  return add_all(what, kernel, std::move(operands), std::move(options)).front();
}

TensorId Backward::gradient(std::size_t result) {
  Gradient& known = results_.at(result);
  if (known.tensor) return *known.tensor;
  const Tensor t = tensor(op_.results.at(result));
  const std::string what = (known.ones ? "ones" : "zeros") + std::to_string(result);
  known.tensor = add(what, Fill{known.ones ? 1.0 : 0.0}, {},
                     {.shapes = {t.shape}, .dims = {t.dims}, .dtype = t.dtype});
  return *known.tensor;
}

TensorId Backward::fit(const std::string& what, TensorId gradient, const Dims& from, const Dims& to,
                       std::size_t operand_index) {
  const DType dtype = tensor(operand(operand_index)).dtype;
  if (to.size() < from.size()) {
    gradient = add(what, Reduce{.operand = from, .result = to}, {gradient},
                   {.dtype = tensor(gradient).dtype});
  } else if (from != to) {
    gradient = add(what, Map{MapOp::copy, {from}, to}, {gradient}, {.dtype = dtype});
  }
  if (tensor(gradient).dtype == dtype) return gradient;
  return add(what + ".convert", Map{MapOp::copy, {to}, to}, {gradient}, {.dtype = dtype});
}

void Backward::give(std::size_t i, TensorId gradient) { give_beyond(operand(i), gradient); }

void Backward::give_beyond(TensorId target, TensorId gradient) {
  if (tensor(target).shape != tensor(gradient).shape) {
    throw UserError("operator " + op_.name + ": its derivative gives " + tensor(target).name + " " +
                    to_string(tensor(target).shape) + " a gradient of shape " +
                    to_string(tensor(gradient).shape));
  }
  given_.push_back({target, {gradient, false}, std::nullopt});
}

void Backward::give_ones(std::size_t i) {
  given_.push_back({operand(i), {std::nullopt, true}, std::nullopt});
}

void Backward::give_slice(std::size_t i, std::size_t dimension, std::int64_t index,
                          TensorId gradient) {
  given_.push_back({operand(i), {gradient, false}, std::pair{dimension, index}});
}

namespace {

/// A gradient that one use of a tensor gave.
struct Contribution {
  TensorId tensor;
  int layer = 0;
  std::optional<std::pair<std::size_t, std::int64_t>> slice;
};

/// Reverse mode: walks the forward operators backwards, collects contributions, and completes the
/// gradient of a tensor when its first use has been passed.
class Differentiation {
 public:
  Differentiation(GraphBuilder& builder, const GradientReady& ready)
      : builder_(builder),
        ready_(ready),
        wanted_(builder.graph().tensors.size(), false),
        first_user_(wanted_.size()),
        contributions_(wanted_.size()),
        complete_(wanted_.size()) {
    for (std::size_t i = 0; i < builder.graph().operators.size(); ++i) {
      const OperatorId id{static_cast<std::int32_t>(i)};
      if (builder.graph().op(id).phase == Phase::forward) forward_.push_back(id);
    }
    find_wanted();
  }

  std::map<TensorId, TensorId> run(const std::vector<TensorId>& losses) {
    for (const TensorId loss : losses) complete_[loss.index()].ones = true;
    for (auto id = forward_.rbegin(); id != forward_.rend(); ++id) {
      pass(*id);
      const std::vector<TensorId> operands = builder_.graph().op(*id).operands;
      for (auto operand = operands.begin(); operand != operands.end(); ++operand) {
        const bool again = std::find(operands.begin(), operand, *operand) != operand;
        if (!again && first_user_[operand->index()] == *id) complete(*operand);
      }
    }
    return parameter_gradients_;
  }

 private:
  void find_wanted() {
    const Graph& graph = builder_.graph();
    for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
      const Role role = graph.tensors[i].role;
      const bool trained = graph.tensors[i].trained;
      wanted_[i] = (role == Role::parameter && trained) || role == Role::replica;
    }
    for (const OperatorId id : forward_) {
      const Operator& op = graph.op(id);
      bool leads = false;
      for (const TensorId operand : op.operands) {
        leads = leads || is_wanted(operand);
        OperatorId& first = first_user_[operand.index()];
        if (!first.valid()) first = id;
      }
      for (const TensorId result : op.results) {
        if (leads) wanted_[result.index()] = true;
      }
    }
  }

  [[nodiscard]] bool is_wanted(TensorId id) const {
    return id.index() < wanted_.size() && wanted_[id.index()];
  }

  /// Runs the derivative of one operator, if a gradient arrives there.
  void pass(OperatorId id) {
    const Operator& op = builder_.graph().op(id);
    std::vector<Gradient> results;
    bool arrives = false;
    for (const TensorId result : op.results) {
      results.push_back(complete_[result.index()]);
      arrives = arrives || (results.back().exists() && is_wanted(result));
    }
    if (!arrives || std::holds_alternative<Contribute>(op.kernel)) return;
    std::vector<bool> wanted;
    for (const TensorId operand : op.operands) wanted.push_back(is_wanted(operand));
    Backward backward(builder_, id, std::move(results), std::move(wanted));
    const Derivative own = builder_.derivative(id);
    own ? own(backward) : derive_kernel(backward.op().kernel, backward);
    for (const Backward::Given& given : backward.given()) collect(given, backward.op().layer);
  }

  void collect(const Backward::Given& given, int layer) {
    if (!is_wanted(given.tensor)) return;
    if (given.gradient.ones) {
      complete_[given.tensor.index()].ones = true;
    } else {
      contributions_[given.tensor.index()].push_back({*given.gradient.tensor, layer, given.slice});
    }
  }

  /// Sums what a tensor got, layer by layer from the last one down.
  void complete(TensorId id) {
    std::vector<Contribution>& parts = contributions_[id.index()];
    if (complete_[id.index()].ones && !parts.empty()) {
      parts.push_back({ones_for(id), parts.back().layer, std::nullopt});
    }
    if (parts.empty()) return;
    const std::string name = builder_.tensor(id).name + ".gradient";
    std::optional<TensorId> sum;
    for (std::size_t begin = 0; begin < parts.size();) {
      const int layer = parts[begin].layer;
      std::size_t end = begin;
      while (end < parts.size() && parts[end].layer == layer) ++end;
      std::vector<TensorId> terms = whole_terms(
          id, {parts.begin() + static_cast<long>(begin), parts.begin() + static_cast<long>(end)});
      if (sum) terms.push_back(*sum);
      sum = add_up(terms, layer, builder_.tensor(id).dims, name);
      begin = end;
    }
    finish(id, *sum, name);
  }

  TensorId ones_for(TensorId id) {
    const Tensor t = builder_.tensor(id);
    builder_.at(contributions_[id.index()].back().layer, Phase::backward);
    return builder_.add(t.name + ".gradient.ones", Fill{1.0}, {},
                        {.shapes = {t.shape}, .dims = {t.dims}, .dtype = t.dtype});
  }

  /// The whole gradients among the parts; slices of one dimension are stacked to one.
  std::vector<TensorId> whole_terms(TensorId id, const std::vector<Contribution>& parts) {
    std::vector<TensorId> terms;
    std::map<std::size_t, std::map<std::int64_t, std::vector<TensorId>>> slices;
    for (const Contribution& part : parts) {
      if (part.slice) {
        slices[part.slice->first][part.slice->second].push_back(part.tensor);
      } else {
        terms.push_back(part.tensor);
      }
    }
    for (const auto& [dimension, by_index] : slices) {
      terms.push_back(stack(id, dimension, by_index, parts.front().layer));
    }
    return terms;
  }

  TensorId stack(TensorId id, std::size_t dimension,
                 const std::map<std::int64_t, std::vector<TensorId>>& by_index, int layer) {
    const Tensor t = builder_.tensor(id);
    const char letter = t.dims.at(dimension);
    const Dims slice_dims = operators::without(t.dims, letter);
    Shape slice_shape = t.shape;
    slice_shape.erase(slice_shape.begin() + static_cast<long>(dimension));
    const std::string name =
        t.name + ".gradient.stack" + std::string(1, letter) + "@" + std::to_string(layer);
    std::vector<TensorId> slices;
    for (std::int64_t i = 0; i < t.shape[dimension]; ++i) {
      const std::string part = name + "." + std::to_string(i);
      const auto found = by_index.find(i);
      if (found != by_index.end()) {
        slices.push_back(add_up(found->second, layer, slice_dims, part));
        continue;
      }
      builder_.at(layer, Phase::backward);
      slices.push_back(
          builder_.add(part + ".zeros", Fill{0.0}, {},
                       {.shapes = {slice_shape}, .dims = {slice_dims}, .dtype = t.dtype}));
    }
    builder_.at(layer, Phase::backward);
    return builder_.add(name, Stack{t.dims, letter}, slices);
  }

  TensorId add_up(const std::vector<TensorId>& terms, int layer, const Dims& dims,
                  const std::string& name) {
    if (terms.size() == 1) return terms.front();
    builder_.at(layer, Phase::backward);
    const Map sum{MapOp::add, std::vector<Dims>(terms.size(), dims), dims};
    return builder_.add(name + ".sum@" + std::to_string(layer), sum, terms);
  }

  void finish(TensorId id, TensorId gradient, const std::string& name) {
    if (named_.insert(gradient.value).second) builder_.rename(gradient, name);
    complete_[id.index()] = {gradient, false};
    const Role role = builder_.tensor(id).role;
    if (role != Role::parameter && role != Role::replica) return;
    parameter_gradients_[id] = gradient;
    if (ready_) ready_(id, gradient);
  }

  GraphBuilder& builder_;
  const GradientReady& ready_;
  std::vector<OperatorId> forward_;
  // By tensor of the forward graph:
  std::vector<bool> wanted_;            ///< leads to a parameter
  std::vector<OperatorId> first_user_;  ///< unset: none
  std::vector<std::vector<Contribution>> contributions_;
  std::vector<Gradient> complete_;
  std::unordered_set<std::int32_t> named_;  ///< gradients
  std::map<TensorId, TensorId> parameter_gradients_;
};

}  // namespace

std::map<TensorId, TensorId> differentiate(GraphBuilder& builder,
                                           const std::vector<TensorId>& losses,
                                           const GradientReady& ready) {
  return Differentiation(builder, ready).run(losses);
}

}  // namespace alpa
