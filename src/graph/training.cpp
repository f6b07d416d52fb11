#include "alpa/graph/training.hpp"

#include <map>

#include "alpa/base/error.hpp"
#include "alpa/graph/derivative.hpp"

#include "optimizer.hpp"

namespace alpa {
namespace {

Map copy_of(const Dims& dims) { return {MapOp::copy, {dims}, dims}; }

/// The parameter itself, or that of which a replica is a copy.
TensorId owner_of(const GraphBuilder& builder, TensorId id) {
  while (builder.tensor(id).role != Role::parameter) {
    id = builder.graph().op(builder.producer(id).value()).operands.at(0);
  }
  return id;
}

/// Adds the accumulator of a parameter or replica and the sum into it, without the loss scale of
/// fp16.
TensorId accumulate(GraphBuilder& builder, TensorId parameter, TensorId gradient) {
  const Tensor p = builder.tensor(parameter);
  builder.at(p.layer, Phase::backward);
  const TensorId sum = builder.add_tensor({p.name + ".accumulator",
                                           p.shape,
                                           at_least_f32(p.dtype),
                                           Role::accumulator,
                                           p.dims,
                                           p.layer,
                                           {}});
  std::vector<TensorId> operands{gradient};
  if (builder.dtype() == DType::f16) {
    operands.push_back(builder.scalar(scalar_name::kInverseLossScale, Role::step_scalar));
  }
  builder.add_in_place(p.name + ".accumulate", Accumulate{p.dims}, operands, {sum});
  return sum;
}

/// The gradient of a parameter over the whole step; of a tied one the sum over its layers.
TensorId total_gradient(GraphBuilder& builder, const Tensor& parameter,
                        const std::vector<TensorId>& accumulators) {
  if (accumulators.size() == 1) return accumulators.front();
  const Map sum{MapOp::add, std::vector<Dims>(accumulators.size(), parameter.dims), parameter.dims};
  return builder.add(parameter.name + ".gradient_sum", sum, accumulators);
}

void contribute_norm(GraphBuilder& builder, const Tensor& parameter, TensorId gradient) {
  const Reduce squares{.square = true, .operand = parameter.dims, .result = ""};
  const std::string name = parameter.name + ".norm_squared";
  const TensorId sum = builder.add(name, squares, {gradient}, {.dtype = DType::f64});
  builder.add_in_place(name + ".contribute", Contribute{}, {sum},
                       {builder.scalar(scalar_name::kNormSquared, Role::global_scalar)});
}

/// The gradient in the dtype of the parameter, which the update needs.
TensorId in_parameter_dtype(GraphBuilder& builder, const Tensor& parameter, TensorId gradient) {
  if (builder.tensor(gradient).dtype == parameter.dtype) return gradient;
  return builder.add(parameter.name + ".gradient_converted", copy_of(parameter.dims), {gradient},
                     {.dtype = parameter.dtype});
}

}  // namespace

TensorId contribute_sum(GraphBuilder& builder, const std::string& name, TensorId values,
                        const std::string& scalar) {
  const Reduce sum{.operand = builder.tensor(values).dims, .result = ""};
  const TensorId total = builder.add(name, sum, {values}, {.dtype = DType::f64});
  builder.add_in_place(name + ".contribute", Contribute{}, {total},
                       {builder.scalar(scalar, Role::global_scalar)});
  return total;
}

TensorId add_loss(GraphBuilder& builder, const std::string& name, TensorId values) {
  return contribute_sum(builder, name, values, scalar_name::kLoss);
}

void add_training(GraphBuilder& builder, const std::vector<TensorId>& losses,
                  const OptimizerSpec& optimizer) {
  std::map<TensorId, std::vector<TensorId>> accumulators;  // the owner's own one first
  differentiate(builder, losses, [&](TensorId parameter, TensorId gradient) {
    const TensorId owner = owner_of(builder, parameter);
    const TensorId sum = accumulate(builder, parameter, gradient);
    auto& all = accumulators[owner];
    const bool own = builder.tensor(parameter).layer == builder.tensor(owner).layer;
    all.insert(own ? all.begin() : all.end(), sum);
  });
  std::map<TensorId, TensorId> totals;
  for (const auto& [id, sums] : accumulators) {
    const Tensor parameter = builder.tensor(id);
    builder.at(parameter.layer, Phase::reduce);
    totals[id] = total_gradient(builder, parameter, sums);
    contribute_norm(builder, parameter, totals[id]);
  }
  for (const auto& [id, gradient] : totals) {
    const Tensor parameter = builder.tensor(id);
    builder.at(parameter.layer, Phase::update);
    add_update(builder, id, in_parameter_dtype(builder, parameter, gradient), optimizer);
  }
}

}  // namespace alpa
