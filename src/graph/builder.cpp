#include "alpa/graph/builder.hpp"

#include <algorithm>
#include <utility>

#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa {
namespace {

using operators::Signature;

/// The extent of a letter of a result, found in the operands (or fixed by the kernel).
std::int64_t extent_of(char letter, const Signature& s, const std::vector<Shape>& operands,
                       const std::string& name) {
  if (s.extent && s.extent->first == letter) return s.extent->second;
  for (std::size_t i = 0; i < operands.size() && i < s.operands.size(); ++i) {
    const std::size_t place = s.operands[i].find(letter);
    if (place != Dims::npos && place < operands[i].size()) return operands[i][place];
  }
  throw UserError("operator " + name + " (" + s.kind + "): the size of letter '" + letter +
                  "' follows from no operand; give the result's shape");
}

std::vector<Shape> result_shapes(const Signature& s, const std::vector<Shape>& operands,
                                 const std::string& name) {
  std::vector<Shape> shapes;
  for (const Dims& dims : s.results) {
    Shape& shape = shapes.emplace_back();
    for (const char c : dims) shape.push_back(extent_of(c, s, operands, name));
  }
  return shapes;
}

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

Graph finished(Graph graph) {
  std::stable_sort(graph.operators.begin(), graph.operators.end(),
                   [](const Operator& a, const Operator& b) { return a.phase < b.phase; });
  validate(graph);
  return graph;
}

bool contains(const std::vector<int>& places, std::size_t i) {
  return std::find(places.begin(), places.end(), static_cast<int>(i)) != places.end();
}

}  // namespace

GraphBuilder::GraphBuilder(int num_layers, std::int64_t microbatch_size, DType dtype)
    : dtype_(dtype) {
  graph_.num_layers = num_layers;
  graph_.microbatch_size = microbatch_size;
}

void GraphBuilder::at(int layer, Phase phase) {
  layer_ = layer;
  phase_ = phase;
}

TensorId GraphBuilder::add_tensor(Tensor tensor) {
  if (tensor.dims.size() != tensor.shape.size()) {
    throw UserError("tensor " + tensor.name + ": dims \"" + tensor.dims + "\" and shape " +
                    to_string(tensor.shape) + " differ in number");
  }
  const TensorId id{static_cast<std::int32_t>(graph_.tensors.size())};
  if (!tensor_by_name_.emplace(tensor.name, id).second) {
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
  const auto found = tensor_by_name_.find(owner);
  if (found == tensor_by_name_.end() || tensor(found->second).role != Role::parameter) {
    throw UserError("parameter " + name + " is to be " + owner + ", which does not exist");
  }
  if (tensor(found->second).shape != shape) {
    throw UserError("parameter " + name + " needs shape " + to_string(shape) + ", but " + owner +
                    ", which it is to be, has " + to_string(tensor(found->second).shape));
  }
  return found->second;
}

TensorId GraphBuilder::scalar(const std::string& name, Role role) {
  const auto found = tensor_by_name_.find(name);
  if (found != tensor_by_name_.end()) return found->second;
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
  for (const std::string& suffix : {std::string(), "." + std::string(to_string(dtype))}) {
    const auto found = tensor_by_name_.find(name + suffix);
    if (found != tensor_by_name_.end() && tensor(found->second).dtype == dtype) {
      return found->second;
    }
    if (found == tensor_by_name_.end()) {
      name += suffix;
      break;
    }
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
  std::vector<Shape> shapes;
  const DType computing = computes_in(operands);
  for (TensorId& id : operands) {
    const Tensor& t = tensor(id);
    const bool reads = phase_ == Phase::forward && t.role == Role::parameter;
    const DType wanted = size_of(computing) < size_of(t.dtype) && t.trained ? computing : t.dtype;
    if (reads && (t.layer != layer_ || wanted != t.dtype)) id = replica(id, layer_, wanted);
    shapes.push_back(tensor(id).shape);
  }
  const std::size_t rank = options.shapes.empty() ? 0 : options.shapes.front().size();
  const Signature s = operators::signature_of(kernel, {operands.size(), rank});
  if (options.shapes.empty()) options.shapes = result_shapes(s, shapes, name);
  Operator op{name, kernel, operands, {}, {}, layer_, phase_};
  try {
    op.rule = rule_of(kernel, shapes, options.shapes);
    if (options.rule) op.rule = std::move(*options.rule);
    // A scalar of the step is the same on every device, never a partial sum.
    std::erase_if(op.rule.linear, [&](const std::vector<int>& group) {
      return std::any_of(group.begin(), group.end(), [&](int i) {
        return tensor(operands.at(static_cast<std::size_t>(i))).role == Role::step_scalar;
      });
    });
  } catch (const UserError& error) {
    throw UserError("operator " + name + ": " + error.what());
  }
  const DType base = operands.empty() ? dtype_ : tensor(operands.front()).dtype;
  const Role role =
      options.role.value_or(phase_ == Phase::forward ? Role::activation : Role::gradient);
  for (std::size_t i = 0; i < s.results.size(); ++i) {
    const bool wide = contains(s.wide_results, i), whole = contains(s.integer_results, i);
    const DType usual = contains(s.single_results, i) ? at_least_f32(base) : base;
    const DType dtype = wide ? DType::f64 : whole ? DType::i32 : options.dtype.value_or(usual);
    const Dims dims = i < options.dims.size() ? options.dims[i] : s.results[i];
    op.results.push_back(add_tensor(
        {result_name(s, options, name, i), options.shapes.at(i), dtype, role, dims, layer_, {}}));
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
  std::vector<Shape> from, to;
  for (const TensorId id : operands) from.push_back(tensor(id).shape);
  for (const TensorId id : results) to.push_back(tensor(id).shape);
  Operator op{name, kernel, std::move(operands), std::move(results), {}, layer_, phase_};
  op.rule = rule_of(kernel, from, to);
  append(std::move(op), {});
}

void GraphBuilder::append(Operator op, Derivative derivative) {
  const OperatorId id{static_cast<std::int32_t>(graph_.operators.size())};
  if (!operator_by_name_.emplace(op.name, id).second) {
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
  if (!tensor_by_name_.emplace(name, id).second) {
    throw UserError("tensor " + renamed.name + " cannot become " + name + ": the name is taken");
  }
  tensor_by_name_.erase(renamed.name);
  renamed.name = name;
}

std::optional<OperatorId> GraphBuilder::producer(TensorId id) const {
  if (id.index() >= producer_.size() || !producer_[id.index()].valid()) return std::nullopt;
  return producer_[id.index()];
}

const Derivative& GraphBuilder::derivative(OperatorId op) const {
  return derivatives_.at(op.index());
}

Graph GraphBuilder::build() const& { return finished(graph_); }

Graph GraphBuilder::build() && { return finished(std::move(graph_)); }

}  // namespace alpa
