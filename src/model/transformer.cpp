#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/graph/training.hpp"

#include "layers.hpp"

// Letters: b batch, t time (s of the keys), e hidden, k which of query, key and value, h heads (of
// keys and values), r queries of a head, d head dimension, f feed-forward, v vocabulary, o inputs
// of an encoder's head.
namespace alpa::model {
namespace {

class Transformer {
 public:
  Transformer(GraphBuilder& builder, const TransformerConfig& config, const ModelOptions& options,
              bool evaluation, const std::vector<int>& layers)
      : config_(config),
        layers_(layers),
        batch_(options.microbatch),
        global_batch_(options.global_batch > 0 ? options.global_batch : options.microbatch),
        evaluation_(evaluation),
        documents_(options.documents),
        context_{builder,
                 options.seed,
                 config.initializer,
                 1.0 / std::sqrt(2.0 * static_cast<double>(config.layers)),
                 builder.dtype(),
                 options.label_smoothing} {
    builder.set_parallel_letters(config.moe ? "xhfv" : "hfv");
  }

  std::vector<TensorId> build() {
    Value x = embed();
    for (std::size_t place = 0; place < layers_.size(); ++place) {
      context_.builder.at(static_cast<int>(place));
      x = block(x, layers_[place]);
    }
    if (pre_norm()) x = norm(context_, x, norm_choice(), "final_norm");
    losses_.push_back(cross_entropy(context_, head(x)));
    return losses_;
  }

 private:
  [[nodiscard]] bool pre_norm() const { return config_.norm_position == NormPosition::pre; }
  [[nodiscard]] NormChoice norm_choice() const {
    return {config_.norm, config_.bias, config_.norm_epsilon};
  }

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
    if (config_.encoder) x = norm(context_, of_first_type(x), norm_choice(), "embedding_norm");
    if (documents_) {
      documents_input_ = builder.input("documents", "bt", {batch_, config_.sequence}, DType::i32);
    }
    return dropout(context_, x, config_.dropout, "embedding.dropout");
  }

  /// Adds the embedding of token type 0, which all tokens have.
  Value of_first_type(const Value& x) {
    GraphBuilder& builder = context_.builder;
    const TensorId types =
        builder.parameter("token_types.weight", "ke", {2, config_.hidden}, lookup_initializer());
    const TensorId first = builder.add("token_types.first", Select{"ke", 'k', 0}, {types});
    return sum(context_, x, {first, "e"}, "token_types");
  }

  [[nodiscard]] Initializer lookup_initializer() const {
    return weight_initializer(context_, config_.hidden, false);
  }

  Value block(Value x, int layer) {
    const std::string name = "layers." + std::to_string(layer);
    x = residual(x, name + ".norm1", name + ".attention",
                 [&](const Value& y) { return attention(y, name + ".attention"); });
    if (config_.moe && has_experts(*config_.moe, layer)) {
      return residual(x, name + ".norm2", name + ".experts",
                      [&](const Value& y) { return mixture(y, name + ".experts"); });
    }
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

  /// Queries [b t h d], or [b t h r d] where r of them share a head of keys and values [b s h d].
  struct Projections {
    TensorId query, key, value;
  };

  Projections equal_heads(const Value& x, const std::string& name) {
    GraphBuilder& builder = context_.builder;
    const Value qkv = linear(context_, x,
                             {.name = name + ".qkv",
                              .inputs = "e",
                              .outputs = "khd",
                              .output_shape = {3, config_.heads, head_size()},
                              .bias = config_.bias});
    return {builder.add(name + ".query", Select{"btkhd", 'k', 0}, {qkv.id}),
            builder.add(name + ".key", Select{"bskhd", 'k', 1}, {qkv.id}),
            builder.add(name + ".value", Select{"bskhd", 'k', 2}, {qkv.id})};
  }

  Projections grouped_heads(const Value& x, const std::string& name) {
    GraphBuilder& builder = context_.builder;
    const Value query = linear(context_, x,
                               {.name = name + ".query",
                                .inputs = "e",
                                .outputs = "hrd",
                                .output_shape = {key_heads(), group(), head_size()},
                                .bias = config_.bias});
    const Value both = linear(context_, x,
                              {.name = name + ".key_value",
                               .inputs = "e",
                               .outputs = "khd",
                               .output_shape = {2, key_heads(), head_size()},
                               .bias = config_.bias});
    return {query.id, builder.add(name + ".key", Select{"bskhd", 'k', 0}, {both.id}),
            builder.add(name + ".value", Select{"bskhd", 'k', 1}, {both.id})};
  }

  [[nodiscard]] std::int64_t head_size() const { return config_.hidden / config_.heads; }
  [[nodiscard]] std::int64_t key_heads() const {
    return config_.key_value_heads.value_or(config_.heads);
  }
  /// Queries of a head of keys and values.
  [[nodiscard]] std::int64_t group() const { return config_.heads / key_heads(); }

  TensorId rotated(TensorId x, const Dims& dims, const std::string& name) {
    return context_.builder.add(name + ".rotary", Rotary{dims, config_.rotary_base}, {x});
  }

  Value attention(const Value& x, const std::string& name) {
    GraphBuilder& builder = context_.builder;
    const bool grouped = group() > 1;
    const Dims query_dims = grouped ? "bthrd" : "bthd";
    Projections in = grouped ? grouped_heads(x, name) : equal_heads(x, name);
    if (config_.positions == Positions::rotary) {
      in.query = rotated(in.query, query_dims, name + ".query");
      in.key = rotated(in.key, "bthd", name + ".key");
    }
    const Attention kernel{!config_.encoder,
                           1.0 / std::sqrt(static_cast<double>(head_size())),
                           {config_.dropout, stream_key(context_.seed, name)},
                           grouped,
                           documents_};
    std::vector<TensorId> operands = {in.query, in.key, in.value,
                                      builder.scalar(scalar_name::kDropoutStep, Role::step_scalar),
                                      builder.scalar(scalar_name::kTraining, Role::step_scalar)};
    if (documents_) operands.insert(operands.end(), {documents_input_, documents_input_});
    const TensorId mixed = builder.add(name, kernel, operands);
    return linear(context_, {mixed, query_dims},
                  {.name = name + ".output",
                   .inputs = query_dims.substr(2),
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

  Value mixture(const Value& x, const std::string& name) {
    const ExpertsLayer layer{.moe = *config_.moe,
                             .feed_forward = config_.feed_forward,
                             .activation = config_.activation,
                             .bias = config_.bias,
                             .capacity = expert_capacity(*config_.moe, evaluation_),
                             .global_tokens = global_batch_ * config_.sequence};
    const ExpertsOutput output = experts(context_, x, layer, name);
    if (output.auxiliary_loss) losses_.push_back(*output.auxiliary_loss);
    return output.value;
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
    const Value in = config_.encoder ? transformed(x) : x;
    const TensorId logits = builder.add("head", Einsum{"bte", "ve", "btv"}, {in.id, weight});
    if (!config_.encoder || !config_.bias) return {logits, "btv"};
    const TensorId bias = builder.parameter("head.bias", "v", {config_.vocabulary}, {});
    return sum(context_, {logits, "btv"}, {bias, "v"}, "head.add_bias");
  }

  /// What an encoder puts before its head: norm(activation(linear(x))).
  Value transformed(const Value& x) {
    const Value y = linear(context_, x,
                           {.name = "head.transform",
                            .inputs = "e",
                            .outputs = "o",
                            .output_shape = {config_.hidden},
                            .bias = config_.bias});
    return norm(context_, activation(context_, y, config_.activation, "head.transform"),
                norm_choice(), "head.norm");
  }

  const TransformerConfig& config_;
  const std::vector<int>& layers_;
  std::int64_t batch_, global_batch_;
  bool evaluation_, documents_;
  Context context_;
  TensorId embedding_, documents_input_;
  std::vector<TensorId> losses_;
};

}  // namespace

std::vector<TensorId> build_transformer(GraphBuilder& builder, const TransformerConfig& config,
                                        const ModelOptions& options, bool evaluation,
                                        const std::vector<int>& layers) {
  if (config.heads < 1 || config.hidden % config.heads != 0) {
    throw UserError("model.heads: " + std::to_string(config.heads) +
                    " does not divide hidden = " + std::to_string(config.hidden));
  }
  const std::int64_t key_heads = config.key_value_heads.value_or(config.heads);
  if (key_heads < 1 || config.heads % key_heads != 0) {
    throw UserError("model.key_value_heads: " + std::to_string(key_heads) +
                    " does not divide heads = " + std::to_string(config.heads));
  }
  if (config.encoder && config.activation == Activation::swiglu) {
    throw UserError("model.activation: an encoder's head needs an elementwise one, not swiglu");
  }
  return Transformer(builder, config, options, evaluation, layers).build();
}

}  // namespace alpa::model
