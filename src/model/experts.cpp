#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/config/groups.hpp"
#include "alpa/graph/derivative.hpp"
#include "alpa/graph/training.hpp"

#include "layers.hpp"

// Letters: b groups, s tokens of a group, e hidden, r experts as the router sees them, k choices of
// a token, x experts, c slots of an expert, f feed-forward.
namespace alpa::model {
namespace {

class Experts {
 public:
  Experts(const Context& context, const ExpertsLayer& layer, const std::string& name)
      : context_(context), layer_(layer), name_(name) {}

  ExpertsOutput build(const Value& x) {
    GraphBuilder& builder = context_.builder;
    const Shape whole = builder.tensor(x.id).shape;
    group_ = layer_.moe.group;
    groups_ = whole[0] * whole[1] / group_;
    hidden_ = whole[2];
    const bool regroup = group_ != whole[1];
    TensorId tokens = x.id;
    if (regroup) {
      tokens = builder.add(name_ + ".groups", View{"bte", "bse"}, {x.id},
                           {.shapes = {{groups_, group_, hidden_}}});
    }
    const TensorId probabilities = probabilities_of(tokens);
    const auto routed = builder.add_all(
        name_ + ".route", Route{{layer_.moe.top_k, layer_.capacity}}, {probabilities});
    const TensorId slots =
        builder.add(name_ + ".dispatch", Dispatch{}, {tokens, routed[0], routed[1]},
                    {.shapes = {{layer_.moe.experts, groups_, layer_.capacity, hidden_}}});
    TensorId mixed = builder.add(name_ + ".combine", Combine{true},
                                 {feed_forward(slots), routed[0], routed[1], routed[2]});
    if (regroup) {
      mixed = builder.add(name_ + ".tokens", View{"bse", "bte"}, {mixed}, {.shapes = {whole}});
    }
    ExpertsOutput output{{mixed, "bte"}, {}};
    if (layer_.moe.auxiliary_loss > 0.0) {
      output.auxiliary_loss = auxiliary_loss(probabilities, routed[3]);
    }
    return output;
  }

 private:
  /// Routers compute in f32 at least, unless told otherwise.
  TensorId router_input(TensorId tokens) {
    const bool wide = layer_.moe.router_precision == RouterPrecision::fp32;
    if (!wide || size_of(context_.builder.tensor(tokens).dtype) >= size_of(DType::f32)) {
      return tokens;
    }
    return context_.builder.add(name_ + ".router.input", Map{MapOp::copy, {"bse"}, "bse"}, {tokens},
                                {.dtype = DType::f32});
  }

  /// softmax(x router) over the experts
  TensorId probabilities_of(TensorId tokens) {
    GraphBuilder& builder = context_.builder;
    const std::string name = name_ + ".router";
    const TensorId weight = builder.parameter(name + ".weight", "er", {hidden_, layer_.moe.experts},
                                              weight_initializer(context_, hidden_, false));
    const TensorId logits =
        builder.add(name, Einsum{"bse", "er", "bsr"}, {router_input(tokens), weight});
    const Reduce reduce{.op = ReduceOp::max, .operand = "bsr", .result = "bs"};
    const TensorId maximum = builder.add(name + ".maximum", reduce, {logits});
    const TensorId sum = builder.add(name + ".sum_exp", SumExp{"bsr", "bs"}, {logits, maximum});
    return builder.add(name + ".softmax", Map{MapOp::softmax, {"bsr", "bs", "bs"}, "bsr"},
                       {logits, maximum, sum});
  }

  /// Each expert's product with its weight, and its bias.
  TensorId product(const std::string& name, TensorId operand, const Dims& from, const Dims& to,
                   std::int64_t inputs, std::int64_t outputs, bool ends_residual) {
    GraphBuilder& builder = context_.builder;
    const std::int64_t experts = layer_.moe.experts;
    const Dims weight_dims = "x" + from + to, result = "xbc" + to;
    const TensorId weight =
        builder.parameter(name + ".weight", weight_dims, {experts, inputs, outputs},
                          weight_initializer(context_, inputs, ends_residual));
    const TensorId y =
        builder.add(name, Einsum{"xbc" + from, weight_dims, result}, {operand, weight});
    if (!layer_.bias) return y;
    const TensorId bias = builder.parameter(name + ".bias", "x" + to, {experts, outputs}, {});
    return builder.add(name + ".add_bias", Map{MapOp::add, {result, "x" + to}, result}, {y, bias});
  }

  /// [x b c e] -> [x b c e]
  TensorId feed_forward(TensorId slots) {
    GraphBuilder& builder = context_.builder;
    const std::int64_t width = layer_.feed_forward;
    TensorId inner = product(name_ + ".in", slots, "e", "f", hidden_, width, false);
    if (layer_.activation == Activation::swiglu) {
      const TensorId gate = product(name_ + ".gate", slots, "e", "f", hidden_, width, false);
      const TensorId open = activation_of(MapOp::silu, name_ + ".silu", gate);
      inner = builder.add(name_ + ".swiglu", Map{MapOp::multiply, {"xbcf", "xbcf"}, "xbcf"},
                          {open, inner});
    } else {
      inner = activation(context_, {inner, "xbcf"}, layer_.activation, name_).id;
    }
    return product(name_ + ".out", inner, "f", "e", width, hidden_, true);
  }

  TensorId activation_of(MapOp op, const std::string& name, TensorId x) {
    return context_.builder.add(name, Map{op, {"xbcf"}, "xbcf"}, {x});
  }

  /// weight / groups of the global batch * sum over groups b and experts x of
  /// E * density[b,x] * mean over tokens of p[b,.,x]; nothing in evaluation. The gradient goes to
  /// the probabilities alone, times the loss scale where there is one.
  TensorId auxiliary_loss(TensorId probabilities, TensorId density) {
    GraphBuilder& builder = context_.builder;
    const std::string name = name_ + ".auxiliary_loss";
    const double groups = static_cast<double>(layer_.global_tokens) / static_cast<double>(group_);
    const double scale = layer_.moe.auxiliary_loss * static_cast<double>(layer_.moe.experts) /
                         (groups * static_cast<double>(group_));
    const TensorId sum =
        builder.add(name + ".probability_sum", Reduce{.operand = "bsr", .result = "br"},
                    {probabilities}, {.dtype = DType::f64});
    const Map product{MapOp::multiply, {"br", "br"}, "br"};
    const TensorId balance =
        builder.add(name + ".balance", product, {density, sum}, {.derivative = [](Backward& b) {
                      const Map slope{MapOp::multiply, {"br", "br"}, "br"};
                      b.give(1, b.add("slope", slope, {b.gradient(0), b.operand(0)}));
                    }});
    const TensorId weighed =
        builder.add(name + ".weighed", Map{MapOp::scale, {"br"}, "br", scale}, {balance});
    const TensorId training = builder.scalar(scalar_name::kTraining, Role::step_scalar);
    const Shape shape = builder.tensor(sum).shape;
    const TensorId value = builder.add(
        name + ".training", Map{MapOp::multiply, {"br", ""}, "br"}, {weighed, training},
        {.derivative = [&builder, shape](Backward& b) {
          const OperatorOptions options{.shapes = {shape}, .dims = {"br"}};
          if (builder.dtype() != DType::f16) {
            b.give(0, b.add("on", Map{MapOp::copy, {""}, "br"}, {b.operand(1)}, options));
            return;
          }
          const TensorId loss_scale = builder.scalar(scalar_name::kLossScale, Role::step_scalar);
          const Map both{MapOp::multiply, {"", ""}, "br"};
          b.give(0, b.add("scaled", both, {b.operand(1), loss_scale}, options));
        }});
    return add_loss(builder, name, value);
  }

  const Context& context_;
  const ExpertsLayer& layer_;
  std::string name_;
  std::int64_t group_ = 0, groups_ = 0, hidden_ = 0;
};

}  // namespace

bool has_experts(const MoeConfig& moe, int layer) { return (layer + 1) % moe.every == 0; }

std::int64_t expert_capacity(const MoeConfig& moe, bool evaluation) {
  const double factor = evaluation ? moe.evaluation_capacity_factor : moe.capacity_factor;
  const double slots =
      factor * static_cast<double>(moe.top_k * moe.group) / static_cast<double>(moe.experts);
  // A product that is whole but for rounding does not get one slot more.
  return std::max<std::int64_t>(1, std::llround(std::ceil(slots * (1.0 - 1e-12))));
}

ExpertsOutput experts(const Context& context, const Value& x, const ExpertsLayer& layer,
                      const std::string& name) {
  const Shape& shape = context.builder.tensor(x.id).shape;
  const std::int64_t tokens = shape.at(0) * shape.at(1);
  if (tokens % layer.moe.group != 0) {
    throw UserError("model.moe.group: a microbatch of " + std::to_string(shape[0]) +
                    " samples has " + std::to_string(tokens) +
                    " tokens, which is no multiple of a group of " +
                    std::to_string(layer.moe.group));
  }
  return Experts(context, layer, name).build(x);
}

}  // namespace alpa::model
