#pragma once

#include <string>

#include "alpa/config/run_config.hpp"
#include "alpa/model/build_graph.hpp"

/// Small free models as users write them: every operator of model.layers in one of them.
namespace alpa::law {

struct FreeModel {
  std::string name;
  std::string yaml;  ///< section `model`
};

inline const std::vector<FreeModel>& free_models() {
  static const std::vector<FreeModel> models = {
      {"unet", R"(
  inputs: {image: {shape: [4, 4, 2]}}
  layers:
    - convolution: {out: 3, activation: silu}
      name: top
    - max_pool
    - convolution: {out: 5, size: 1, activation: tanh, bias: false}
      name: middle
    - average_pool
    - convolution: {out: 4, activation: gelu}
    - upsample: {}
      name: up_middle
    - concatenate: {}
      input: [middle, up_middle]
    - convolution: {out: 3, activation: gelu_tanh}
    - upsample: {factor: 2}
      name: up_top
    - concatenate: {}
      input: [top, up_top]
    - linear: {out: 5}
      name: pixels
  outputs: [{layer: pixels, labels: mask}]
)"},
      {"two_losses", R"(
  inputs: {tokens: {shape: [4], type: integer}, numbers: {shape: [3]}}
  layers:
    - embedding: {vocabulary: 5, out: 6}
    - positions
    - residual:
        - layer_norm
        - attention: {heads: 3, rotary: true, dropout: 0.1, bias: false}
    - residual:
        - rms_norm: {}
        - feed_forward: {hidden: 8, activation: swiglu}
    - global_average_pool: {}
      name: text
    - linear: {out: 6, activation: tanh}
      input: [numbers]
      name: numbers_wide
    - multiply: {}
      input: [text, numbers_wide]
      name: both
    - linear: {out: 5}
      name: kind
    - linear: {out: 2}
      input: [both]
      name: amount
  outputs:
    - {layer: kind, labels: kinds}
    - {layer: amount, loss: squared_error, targets: amounts, weight: 0.3}
)"},
      {"shared", R"(
  inputs: {left: {shape: [4]}, right: {shape: [4]}}
  layers:
    - linear: {out: 4, activation: tanh}
      name: encoder
    - linear: {out: 4, activation: tanh}
      input: [right]
      parameters: encoder
      name: other
    - concatenate: {}
      input: [encoder, other]
    - softmax
    - scale: {factor: 3.0}
    - layer_norm: {epsilon: 0.001}
      name: norm
    - linear: {out: 4}
    - repeat: 2
      block:
        - linear: {out: 4, activation: silu}
          parameters: encoder
    - linear: {out: 2}
  loss: squared_error
)"},
      {"einsum", R"(
  inputs: {x: {shape: [3, 4]}, y: {shape: [3, 4]}}
  layers:
    - einsum: {equation: "nsi,ij->nsj", weight: [4, 5]}
      input: [x]
      name: p
    - einsum: {equation: "nsi, ji -> nsj", weight: [5, 4]}
      input: [y]
      name: q
    - einsum: {equation: "nsj,ntj->nst"}
      input: [p, q]
    - softmax: {}
      name: shares
    - einsum: {equation: "bst,btj->bsj"}
      input: [shares, q]
    - dropout: {p: 0.2}
      name: mixed
    - add: {}
      input: [mixed, p]
    - flatten
    - linear: {out: 5, activation: relu}
    - linear: {out: 5}
)"},
  };
  return models;
}

inline RunConfig free_run(const std::string& model) {
  const std::string data = "data: {source: synthetic, synthetic: {kind: fields}}\n";
  return parse_run_config("model:\n  preset: custom" + model + data, "free.yaml");
}

inline Graph free_graph(const FreeModel& model, const OptimizerConfig& optimizer,
                        const ModelOptions& options) {
  return build_graph(free_run(model.yaml).model, optimizer, options);
}

}  // namespace alpa::law
