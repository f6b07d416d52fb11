#include "alpa/graph/builder.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "alpa/base/error.hpp"

#include "rule_book.hpp"
#include "validate_parts.hpp"

namespace alpa {
namespace {

using operators::Signature;

// Of a layer: there is room for them before they are there.
constexpr std::size_t kLikelyOperators = 128;
constexpr std::size_t kLikelyTensors = 192;

std::string result_name(const Signature& s, const OperatorOptions& options, const std::string& name,
                        std::size_t i) {
  if (i < options.names.size()) return options.names[i];
  if (i < s.suffixes.size()) return name + s.suffixes[i];
  return s.results.size() == 1 ? name : name + "." + std::to_string(i);
}

/// A sum that is finished later must not be rounded earlier.
bool narrows(const Kernel& kernel, DType from, DType to) {
  const Map* map = std::get_if<Map>(&kernel);
  return map && map->op == MapOp::copy && size_of(to) < size_of(from);
}

bool is_low_or_single(DType type) {
  return type == DType::bf16 || type == DType::f16 || type == DType::f32;
}

/// Names of things in a list, for NameTable.
template <class Thing>
struct Names {
  const std::vector<Thing>& things;
  const std::string& operator()(std::int32_t i) const {
    return things[static_cast<std::size_t>(i)].name;
  }
};

const RuleBook::Entry& rule_entry(RuleBook& rules, const std::string& name, const Kernel& kernel,
                                  const RuleBook::Shapes& operands,
                                  const RuleBook::Shapes* results) {
  try {
    return rules.of(kernel, operands, results);
  } catch (const UserError& error) {
    throw UserError("operator " + name + ": " + error.what());
  }
}

/// Puts operators in the order of their phases, those of a phase as they stand. They are large: in
/// place, each goes to its place at once.
void sort_by_phase(std::vector<Operator>& operators) {
  std::vector<std::size_t> order(operators.size());  // of what comes to each place
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return operators[a].phase < operators[b].phase;
  });
  for (std::size_t first = 0; first < order.size(); ++first) {
    if (order[first] == first) continue;
    Operator moved = std::move(operators[first]);
    std::size_t place = first;
    while (order[place] != first) {
      operators[place] = std::move(operators[order[place]]);
      place = std::exchange(order[place], place);
    }
    operators[place] = std::move(moved);
    order[place] = place;
  }
}

Graph finished(Graph graph, RuleBook& rules) {
  sort_by_phase(graph.operators);
  validate_named(graph, rules);
  return graph;
}

bool contains(const std::vector<int>& places, std::size_t i) {
  return std::find(places.begin(), places.end(), static_cast<int>(i)) != places.end();
}

}  // namespace

GraphBuilder::GraphBuilder(int num_layers, std::int64_t microbatch_size, DType dtype)
    : dtype_(dtype), rules_(std::make_shared<RuleBook>()) {
  graph_.num_layers = num_layers;
  graph_.microbatch_size = microbatch_size;
  graph_.operators.reserve(static_cast<std::size_t>(num_layers) * kLikelyOperators);
  graph_.tensors.reserve(static_cast<std::size_t>(num_layers) * kLikelyTensors);
}

void GraphBuilder::at(int layer, Phase phase) {
  layer_ = layer;
  phase_ = phase;
}

std::optional<TensorId> GraphBuilder::find(const std::string& name) const {
  const auto found = tensor_by_name_.find(name, Names{graph_.tensors});
  if (!found) return std::nullopt;
  return TensorId{*found};
}

TensorId GraphBuilder::add_tensor(Tensor tensor) {
  if (tensor.dims.size() != tensor.shape.size()) {
    throw UserError("tensor " + tensor.name + ": dims \"" + tensor.dims + "\" and shape " +
                    to_string(tensor.shape) + " differ in number");
  }
  const TensorId id{static_cast<std::int32_t>(graph_.tensors.size())};
  if (!tensor_by_name_.add(tensor.name, id.value, Names{graph_.tensors})) {
    throw UserError("tensor " + tensor.name + ": the name is taken");
  }
  graph_.tensors.push_back(std::move(tensor));
  return id;
}

TensorId GraphBuilder::input(const std::string& name, const Dims& dims, const Shape& shape,
                             DType dtype) {
  return add_tensor({name, shape, dtype, Role::input, dims, layer_, {}});
}

TensorId GraphBuilder::parameter(const std::string& name, const Dims& dims, const Shape& shape,
                                 const Initializer& initializer) {
  for (const auto& [prefix, owner] : shared_) {
    if (name.starts_with(prefix)) {
      return shared_parameter(name, owner + name.substr(prefix.size()), shape);
    }
  }
  return add_tensor(
      {name, shape, at_least_f32(dtype_), Role::parameter, dims, layer_, initializer});
}

void GraphBuilder::share_parameters(const std::string& prefix, const std::string& owner) {
  shared_[prefix] = owner;
}

TensorId GraphBuilder::shared_parameter(const std::string& name, const std::string& owner,
                                        const Shape& shape) const {
  const auto found = find(owner);
  if (!found || tensor(*found).role != Role::parameter) {
    throw UserError("parameter " + name + " is to be " + owner + ", which does not exist");
  }
  if (tensor(*found).shape != shape) {
    throw UserError("parameter " + name + " needs shape " + to_string(shape) + ", but " + owner +
                    ", which it is to be, has " + to_string(tensor(*found).shape));
  }
  return *found;
}

TensorId GraphBuilder::scalar(const std::string& name, Role role) {
  if (const auto found = find(name)) return *found;
  return add_tensor({name, {}, DType::f64, role, "", 0, {}});
}

/// In a low precision an operator computes in the type of its operands that are no parameters.
DType GraphBuilder::computes_in(const std::vector<TensorId>& operands) const {
  for (const TensorId id : operands) {
    const DType type = tensor(id).dtype;
    const bool decides = tensor(id).role != Role::parameter && is_low_or_single(type);
    if (decides) return type;
  }
  return dtype_;
}

TensorId GraphBuilder::replica(TensorId parameter, int layer, DType dtype) {
  const Tensor original = tensor(parameter);
  std::string name = original.name + "@" + std::to_string(layer);
  if (const auto of_layer = find(name)) {
    if (tensor(*of_layer).dtype == dtype) return *of_layer;
    name += "." + std::string(to_string(dtype));
    if (const auto of_type = find(name)) return *of_type;
  }
  // Other layers copy what the parameter's own layer has cast: that crosses between stages.
  const bool cast_elsewhere = dtype != original.dtype && layer != original.layer;
  const TensorId from = cast_elsewhere ? replica(parameter, original.layer, dtype) : parameter;
  const int layer_before = std::exchange(layer_, layer);
  const Phase phase_before = std::exchange(phase_, Phase::prepare);
  const TensorId copy = add(name, Map{MapOp::copy, {original.dims}, original.dims}, {from},
                            {.dtype = dtype, .role = Role::replica});
  layer_ = layer_before;
  phase_ = phase_before;
  return copy;
}

std::vector<TensorId> GraphBuilder::add_all(const std::string& name, const Kernel& kernel,
                                            std::vector<TensorId> operands,
                                            OperatorOptions options) {
  RuleBook::Shapes shapes, given;
  const DType computing = computes_in(operands);
  for (TensorId& id : operands) {
    const Tensor& t = tensor(id);
    const bool reads = phase_ == Phase::forward && t.role == Role::parameter;
    const DType wanted = size_of(computing) < size_of(t.dtype) && t.trained ? computing : t.dtype;
    if (reads && (t.layer != layer_ || wanted != t.dtype)) id = replica(id, layer_, wanted);
  }
  for (const TensorId id : operands) shapes.push_back(&tensor(id).shape);
  for (const Shape& shape : options.shapes) given.push_back(&shape);
  const RuleBook::Entry& entry =
      rule_entry(*rules_, name, kernel, shapes, given.empty() ? nullptr : &given);
  const Signature& s = entry.signature;
  Operator op{name, kernel, operands, {}, entry.rule, layer_, phase_};
  if (options.rule) op.rule = std::move(*options.rule);
  // A scalar of the step is the same on every device, never a partial sum.
  std::erase_if(op.rule.linear, [&](const std::vector<int>& group) {
    return std::any_of(group.begin(), group.end(), [&](int i) {
      return tensor(operands.at(static_cast<std::size_t>(i))).role == Role::step_scalar;
    });
  });
  const DType base = operands.empty() ? dtype_ : tensor(operands.front()).dtype;
  const Role role =
      options.role.value_or(phase_ == Phase::forward ? Role::activation : Role::gradient);
  for (std::size_t i = 0; i < s.results.size(); ++i) {
    const bool wide = contains(s.wide_results, i), whole = contains(s.integer_results, i);
    const DType usual = contains(s.single_results, i) ? at_least_f32(base) : base;
    const DType dtype = wide ? DType::f64 : whole ? DType::i32 : options.dtype.value_or(usual);
    const Dims dims = i < options.dims.size() ? options.dims[i] : s.results[i];
    op.results.push_back(add_tensor(
        {result_name(s, options, name, i), entry.results.at(i), dtype, role, dims, layer_, {}}));
    if (narrows(kernel, base, dtype)) op.rule.linear.clear();
  }
  std::vector<TensorId> results = op.results;
  append(std::move(op), std::move(options.derivative));
  return results;
}

TensorId GraphBuilder::add(const std::string& name, const Kernel& kernel,
                           std::vector<TensorId> operands, OperatorOptions options) {
  return add_all(name, kernel, std::move(operands), std::move(options)).front();
}

void GraphBuilder::add_in_place(const std::string& name, const Kernel& kernel,
                                std::vector<TensorId> operands, std::vector<TensorId> results) {
  RuleBook::Shapes from, to;
  for (const TensorId id : operands) from.push_back(&tensor(id).shape);
  for (const TensorId id : results) to.push_back(&tensor(id).shape);
  const RuleBook::Entry& entry = rule_entry(*rules_, name, kernel, from, &to);
  append({name, kernel, std::move(operands), std::move(results), entry.rule, layer_, phase_}, {});
}

void GraphBuilder::append(Operator op, Derivative derivative) {
  const OperatorId id{static_cast<std::int32_t>(graph_.operators.size())};
  if (!operator_by_name_.add(op.name, id.value, Names{graph_.operators})) {
    throw UserError("operator " + op.name + ": the name is taken");
  }
  producer_.resize(graph_.tensors.size());
  for (const TensorId result : op.results) {
    OperatorId& first = producer_.at(result.index());
    if (!first.valid()) first = id;
  }
  graph_.operators.push_back(std::move(op));
  derivatives_.push_back(std::move(derivative));
}

void GraphBuilder::rename(TensorId id, const std::string& name) {
  Tensor& renamed = graph_.tensors.at(id.index());
  if (!tensor_by_name_.add(name, id.value, Names{graph_.tensors})) {
    throw UserError("tensor " + renamed.name + " cannot become " + name + ": the name is taken");
  }
  renamed.name = name;
}

std::optional<OperatorId> GraphBuilder::producer(TensorId id) const {
  if (id.index() >= producer_.size() || !producer_[id.index()].valid()) return std::nullopt;
  return producer_[id.index()];
}

const Derivative& GraphBuilder::derivative(OperatorId op) const {
  return derivatives_.at(op.index());
}

Graph GraphBuilder::build() const& { return finished(graph_, *rules_); }

Graph GraphBuilder::build() && { return finished(std::move(graph_), *rules_); }

}  // namespace alpa
