#pragma once

#include <map>
#include <memory>
#include <string>

#include "alpa/base/error.hpp"
#include "alpa/config/groups.hpp"
#include "alpa/model/build_graph.hpp"
#include "alpa/plan/methods.hpp"

#include "law/harness.hpp"

/// The models that the law is tested on: everything of a model in it, and small.
namespace alpa::law {

/// 8 linear layers with bias, dropout, cross-entropy; widths that 2, 4 and 8 divide.
inline ModelConfig tiny_mlp() {
  ModelConfig model = preset_defaults(Preset::mlp);
  model.shape = MlpConfig{.layers = 7,
                          .hidden = 16,
                          .features = 16,
                          .classes = 8,
                          .activation = Activation::gelu,
                          .dropout = 0.1,
                          .initializer = {}};
  return model;
}

/// 8 blocks, learned positions, tied embedding, dropout.
inline ModelConfig tiny_gpt() {
  ModelConfig model = preset_defaults(Preset::gpt);
  TransformerConfig shape;
  shape.layers = 8;
  shape.hidden = 8;
  shape.heads = 8;
  shape.feed_forward = 16;
  shape.vocabulary = 24;
  shape.sequence = 4;
  shape.dropout = 0.1;
  shape.initializer.std = 0.2;
  model.shape = shape;
  return model;
}

/// The gradient of a bias of keys is 0 but for rounding, which Adafactor scales to the size of
/// others: of such numbers no two plans agree.
inline void drop_biases(ModelConfig& model) {
  if (auto* shape = std::get_if<TransformerConfig>(&model.shape)) shape->bias = false;
}

/// A transformer without experts in sizes that 2, 4 and 8 divide; llama with one head of keys for
/// two of queries.
inline ModelConfig tiny_transformer(Preset preset) {
  ModelConfig model = preset_defaults(preset);
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape.layers = 8;
  shape.hidden = 16;
  shape.heads = 8;
  shape.feed_forward = 16;
  shape.vocabulary = 24;
  shape.sequence = 4;
  shape.dropout = 0.1;
  shape.initializer.std = 0.25;
  shape.norm_epsilon = 1e-5;
  if (preset == Preset::llama) {
    shape.key_value_heads = 4;
    shape.rotary_base = 10.0;
  }
  return model;
}

/// Experts in sizes that nothing divides evenly: 3 layers of which the second has experts, top 2,
/// 6 tokens a sample, routed together with those of the next sample; some are dropped.
inline ModelConfig tiny_experts() {
  ModelConfig model = preset_defaults(Preset::moe);
  TransformerConfig shape;
  shape.layers = 3;
  shape.hidden = 6;
  shape.heads = 3;
  shape.feed_forward = 10;
  shape.vocabulary = 11;
  shape.sequence = 6;
  shape.dropout = 0.1;
  shape.initializer.std = 0.25;
  shape.moe = MoeConfig{.experts = 5,
                        .every = 2,
                        .top_k = 2,
                        .group = 12,
                        .capacity_factor = 0.9,
                        .evaluation_capacity_factor = 1.5,
                        .auxiliary_loss = 0.1};
  model.shape = shape;
  return model;
}

/// Blocks of two stages' strides, channels that nothing divides evenly, 32 x 32 pixels.
inline ModelConfig tiny_wide_resnet(std::int64_t group = 2) {
  ModelConfig model = preset_defaults(Preset::wide_resnet);
  WideResnetConfig shape{
      .layers = 14, .channels = 3, .width = 2, .image = 32, .classes = 5, .batch_norm = {}};
  shape.batch_norm.group = group;
  // The last images have one pixel: two samples that nearly agree would blow rounding up.
  shape.batch_norm.epsilon = 0.1;
  model.shape = shape;
  return model;
}

/// @pre not custom
inline ModelConfig tiny_model(Preset preset) {
  switch (preset) {
    case Preset::mlp:
      return tiny_mlp();
    case Preset::gpt:
      return tiny_gpt();
    case Preset::llama:
    case Preset::bert:
      return tiny_transformer(preset);
    case Preset::moe:
      return tiny_experts();
    case Preset::wide_resnet:
      return tiny_wide_resnet();
    case Preset::custom:
      break;
  }
  check_failed("a preset with a shape", SourceLine::here());
}

/// How many values the integer inputs of a model have, by name.
inline std::map<std::string, std::int64_t> vocabulary_of(const ModelConfig& model) {
  if (const auto* shape = std::get_if<TransformerConfig>(&model.shape)) {
    return {{"tokens", shape->vocabulary}, {"labels", shape->vocabulary}, {"documents", 2}};
  }
  if (const auto* shape = std::get_if<MlpConfig>(&model.shape)) return {{"labels", shape->classes}};
  return {{"labels", std::get<WideResnetConfig>(model.shape).classes}};
}

/// A model in training; microbatch, global batch and features of `options` are filled in.
inline Case case_of_model(const ModelConfig& model, const OptimizerConfig& optimizer,
                          ModelOptions options) {
  Case made;
  made.learning_rate = 0.01;
  made.vocabulary = vocabulary_of(model);
  made.samples_of_group = samples_of_group(model);
  made.masks_elements = model.preset == Preset::bert;
  options.global_batch = made.global_batch;
  if (const auto* shape = std::get_if<MlpConfig>(&model.shape)) options.features = shape->features;
  made.make_graph = [model, optimizer, options](std::int64_t microbatch) {
    ModelOptions all = options;
    all.microbatch = microbatch;
    return build_graph(model, optimizer, all);
  };
  return made;
}

/// In fp64; gradients are clipped, but for momentum.
inline Case case_of_model(const ModelConfig& model, OptimizerKind kind) {
  OptimizerConfig optimizer;
  optimizer.name = kind;
  ModelOptions options;
  options.precision = Precision::fp64;
  if (kind != OptimizerKind::momentum) options.clip_norm = 0.5;
  return case_of_model(model, optimizer, options);
}

struct TinyCase {
  Preset preset = Preset::gpt;
  OptimizerKind optimizer = OptimizerKind::adamw;
  Precision precision = Precision::fp64;
  std::optional<double> clip_norm = 0.5;
  friend auto operator<=>(const TinyCase&, const TinyCase&) = default;
};

inline Case case_of(const TinyCase& tiny) {
  ModelConfig model = tiny_model(tiny.preset);
  if (tiny.optimizer == OptimizerKind::adafactor) drop_biases(model);
  OptimizerConfig optimizer;
  optimizer.name = tiny.optimizer;
  ModelOptions options;
  options.precision = tiny.precision;
  options.clip_norm = tiny.clip_norm;
  return case_of_model(model, optimizer, options);
}

/// What one rank gives, trained once for each key.
template <class Key>
class Truths {
 public:
  const Outcome& of(const Key& key, const Case& test) {
    auto it = known_.find(key);
    if (it == known_.end()) {
      const Plan alone = single_rank_plan(test.make_graph(test.global_batch));
      it = known_.emplace(key, train(test, alone)).first;
    }
    return it->second;
  }

 private:
  std::map<Key, Outcome> known_;
};

inline std::unique_ptr<Device> one_thread_cpu() { return make_cpu_device(1); }

inline ParallelConfig degrees(std::int64_t data, std::int64_t tensor, std::int64_t pipeline) {
  ParallelConfig parallel;
  parallel.data = data;
  parallel.tensor = tensor;
  parallel.pipeline = pipeline;
  return parallel;
}

inline ParallelConfig microbatches(std::int64_t count) {
  ParallelConfig parallel;
  parallel.microbatches = count;
  return parallel;
}

/// A plan by hand for a case.
inline Plan plan_of(const Case& test, Method method, int ranks,
                    const ParallelConfig& parallel = {}) {
  MethodRequest request{parallel, ranks, test.global_batch, test.samples_of_group};
  request.parallel.method = method;
  return plan_by_method(request, test.make_graph);
}

template <class Enum>
std::string name_in_files(Enum value) {
  for (const auto& entry : names_of(value)) {
    if (entry.value == value) return std::string(entry.name);
  }
  return "?";
}

inline std::string name_of_method(Method method) { return name_in_files(method); }

}  // namespace alpa::law
