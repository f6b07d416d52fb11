#pragma once

#include <random>
#include <string>
#include <vector>

#include "alpa/lowering/lower.hpp"
#include "alpa/model/build_graph.hpp"

#include "law/harness.hpp"

namespace alpa {

inline ModelConfig mlp_model() {
  ModelConfig model = preset_defaults(Preset::mlp);
  model.shape = MlpConfig{
      .layers = 3, .hidden = 7, .features = 5, .classes = 6, .dropout = 0.1, .initializer = {}};
  return model;
}

inline ModelConfig gpt_model(std::int64_t layers) {
  ModelConfig model = preset_defaults(Preset::gpt);
  TransformerConfig shape;
  shape.layers = layers;
  shape.hidden = 12;
  shape.heads = 4;
  shape.feed_forward = 20;
  shape.vocabulary = 11;
  shape.sequence = 6;
  model.shape = shape;
  return model;
}

/// Random plans of a model; `random_plan` of the law needs no more of the case.
inline law::Case case_of(const ModelConfig& model) {
  law::Case made;
  made.make_graph = [model](std::int64_t microbatch) {
    OptimizerConfig optimizer;
    optimizer.name = OptimizerKind::adamw;
    ModelOptions options;
    options.precision = Precision::fp64;
    options.clip_norm = 0.5;
    options.microbatch = microbatch;
    return build_graph(model, optimizer, options);
  };
  return made;
}

/// Scratch for some kernels, so that programs have workspaces.
inline Bytes some_workspace(const Kernel& kernel, const std::vector<Operand>&,
                            const std::vector<Operand>& results) {
  return {std::holds_alternative<Einsum>(kernel) ? results.front().size().value / 2 : 0};
}

/// All ranks' programs of a plan.
struct WorldPrograms {
  std::vector<Program> step, evaluate;
};

inline WorldPrograms lower_all(const law::Case& test, const Plan& plan) {
  const Graph graph = law::graph_of(test, plan);
  WorldPrograms programs;
  for (int r = 0; r < plan.world_size; ++r) {
    RankPrograms rank = lower(graph, plan, r, some_workspace);
    programs.step.push_back(std::move(rank.step));
    programs.evaluate.push_back(std::move(rank.evaluate));
  }
  return programs;
}

inline std::string joined(const std::vector<std::string>& mistakes) {
  std::string text;
  for (const std::string& mistake : mistakes) text += mistake + "\n";
  return text;
}

}  // namespace alpa
