#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/graph/training.hpp"

#include "layers.hpp"

// Letters: b batch, t time (s of the keys), e hidden, k which of query, key and value, h heads,
// d head dimension, f feed-forward, v vocabulary.
namespace alpa::model {
namespace {

class Transformer {
 public:
  Transformer(GraphBuilder& builder, const TransformerConfig& config, const ModelOptions& options)
      : config_(config),
        batch_(options.microbatch),
        context_{builder, options.seed, config.initializer,
                 1.0 / std::sqrt(2.0 * static_cast<double>(config.layers)), builder.dtype()} {
    builder.set_parallel_letters("hfv");
  }

  TensorId build() {
    Value x = embed();
    for (int i = 0; i < static_cast<int>(config_.layers); ++i) {
      context_.builder.at(i);
      x = block(x, "layers." + std::to_string(i));
    }
    if (pre_norm()) x = norm(context_, x, norm_choice(), "final_norm");
    return cross_entropy(context_, head(x));
  }

 private:
  [[nodiscard]] bool pre_norm() const { return config_.norm_position == NormPosition::pre; }
  [[nodiscard]] NormChoice norm_choice() const { return {config_.norm, config_.bias}; }

  Value embed() {
    GraphBuilder& builder = context_.builder;
    builder.at(0);
    const TensorId tokens = builder.input("tokens", "bt", {batch_, config_.sequence}, DType::i32);
    embedding_ = builder.parameter("embedding.weight", "ve", {config_.vocabulary, config_.hidden},
                                   lookup_initializer());
    Value x{builder.add("embedding", Embedding{"ve", "bt", "bte"}, {embedding_, tokens}), "bte"};
    if (config_.positions == Positions::learned) {
      const TensorId positions = builder.parameter(
          "positions.weight", "te", {config_.sequence, config_.hidden}, lookup_initializer());
      x = sum(context_, x, {positions, "te"}, "positions");
    }
    return dropout(context_, x, config_.dropout, "embedding.dropout");
  }

  [[nodiscard]] Initializer lookup_initializer() const {
    return weight_initializer(context_, config_.hidden, false);
  }

  Value block(Value x, const std::string& name) {
    x = residual(x, name + ".norm1", name + ".attention",
                 [&](const Value& y) { return attention(y, name + ".attention"); });
    return residual(x, name + ".norm2", name + ".feed_forward",
                    [&](const Value& y) { return feed_forward(y, name + ".feed_forward"); });
  }

  /// pre: x + branch(norm(x)); post: norm(x + branch(x))
  template <class Branch>
  Value residual(const Value& x, const std::string& norm_name, const std::string& name,
                 Branch branch) {
    const Value in = pre_norm() ? norm(context_, x, norm_choice(), norm_name) : x;
    const Value out = dropout(context_, branch(in), config_.dropout, name + ".dropout");
    const Value added = sum(context_, x, out, name + ".residual");
    return pre_norm() ? added : norm(context_, added, norm_choice(), norm_name);
  }

  Value attention(const Value& x, const std::string& name) {
    GraphBuilder& builder = context_.builder;
    const std::int64_t head = config_.hidden / config_.heads;
    const Value qkv = linear(context_, x,
                             {.name = name + ".qkv",
                              .inputs = "e",
                              .outputs = "khd",
                              .output_shape = {3, config_.heads, head},
                              .bias = config_.bias});
    const TensorId query = builder.add(name + ".query", Select{"btkhd", 'k', 0}, {qkv.id});
    const TensorId key = builder.add(name + ".key", Select{"bskhd", 'k', 1}, {qkv.id});
    const TensorId value = builder.add(name + ".value", Select{"bskhd", 'k', 2}, {qkv.id});
    const Attention kernel{true,
                           1.0 / std::sqrt(static_cast<double>(head)),
                           {config_.dropout, stream_key(context_.seed, name)}};
    const TensorId mixed = builder.add(
        name, kernel,
        {query, key, value, builder.scalar(scalar_name::kDropoutStep, Role::step_scalar),
         builder.scalar(scalar_name::kTraining, Role::step_scalar)});
    return linear(context_, {mixed, "bthd"},
                  {.name = name + ".output",
                   .inputs = "hd",
                   .outputs = "e",
                   .output_shape = {config_.hidden},
                   .bias = config_.bias,
                   .ends_residual = true});
  }

  [[nodiscard]] Linear widen(const std::string& name) const {
    return {.name = name,
            .inputs = "e",
            .outputs = "f",
            .output_shape = {config_.feed_forward},
            .bias = config_.bias};
  }

  Value feed_forward(const Value& x, const std::string& name) {
    Value inner = linear(context_, x, widen(name + ".in"));
    if (config_.activation == Activation::swiglu) {
      inner = gated(x, inner, name);
    } else {
      inner = activation(context_, inner, config_.activation, name);
    }
    return linear(context_, inner,
                  {.name = name + ".out",
                   .inputs = "f",
                   .outputs = "e",
                   .output_shape = {config_.hidden},
                   .bias = config_.bias,
                   .ends_residual = true});
  }

  /// silu(x gate) * (x in)
  Value gated(const Value& x, const Value& inner, const std::string& name) {
    GraphBuilder& builder = context_.builder;
    const Value gate = linear(context_, x, widen(name + ".gate"));
    const TensorId open = builder.add(name + ".silu", Map{MapOp::silu, {"btf"}, "btf"}, {gate.id});
    const Map product{MapOp::multiply, {"btf", "btf"}, "btf"};
    return {builder.add(name + ".swiglu", product, {open, inner.id}), "btf"};
  }

  Value head(const Value& x) {
    GraphBuilder& builder = context_.builder;
    const TensorId weight =
        config_.tied_embedding
            ? embedding_
            : builder.parameter("head.weight", "ve", {config_.vocabulary, config_.hidden},
                                lookup_initializer());
    return {builder.add("head", Einsum{"bte", "ve", "btv"}, {x.id, weight}), "btv"};
  }

  const TransformerConfig& config_;
  std::int64_t batch_;
  Context context_;
  TensorId embedding_;
};

}  // namespace

TensorId build_transformer(GraphBuilder& builder, const TransformerConfig& config,
                           const ModelOptions& options) {
  if (config.positions == Positions::rotary) {
    throw UserError("model.positions: rotary is not available; use learned or none");
  }
  if (config.moe) {
    throw UserError("model.moe: experts are not available; use preset gpt");
  }
  if (config.heads < 1 || config.hidden % config.heads != 0) {
    throw UserError("model.heads: " + std::to_string(config.heads) +
                    " does not divide hidden = " + std::to_string(config.hidden));
  }
  return Transformer(builder, config, options).build();
}

}  // namespace alpa::model
