#pragma once

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

struct TinyCase {
  Preset preset = Preset::gpt;
  OptimizerKind optimizer = OptimizerKind::adamw;
  Precision precision = Precision::fp64;
  std::optional<double> clip_norm = 0.5;
};

inline Case case_of(const TinyCase& tiny) {
  Case made;
  made.learning_rate = 0.01;
  made.vocabulary = {{"tokens", 24}, {"labels", tiny.preset == Preset::gpt ? 24 : 8}};
  ModelConfig model = tiny.preset == Preset::gpt ? tiny_gpt() : tiny_mlp();
  if (tiny.optimizer == OptimizerKind::adafactor) drop_biases(model);
  made.make_graph = [tiny, model](std::int64_t microbatch) {
    OptimizerConfig optimizer;
    optimizer.name = tiny.optimizer;
    ModelOptions options;
    options.precision = tiny.precision;
    options.clip_norm = tiny.clip_norm;
    options.microbatch = microbatch;
    options.features = 16;
    return build_graph(model, optimizer, options);
  };
  return made;
}

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

inline std::string name_of_method(Method method) {
  for (const auto& entry : names_of(method)) {
    if (entry.value == method) return std::string(entry.name);
  }
  return "?";
}

}  // namespace alpa::law
