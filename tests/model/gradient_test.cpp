#include <cmath>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/random.hpp"
#include "alpa/graph/training.hpp"
#include "alpa/model/build_graph.hpp"

#include "graph/interpreter.hpp"
#include "law/free_models.hpp"

namespace alpa {
namespace {

using testing::Interpreter;

double random_number(const std::string& name, std::int64_t i) {
  return normal(stream_key(3, name), 0, static_cast<std::uint64_t>(i));
}

/// Parameters near 1/2 in size, so that no branch of the model is negligible; weights of the loss
/// 0 and 1; labels below 5.
void fill(const Graph& graph, Interpreter& run) {
  for (const Tensor& tensor : graph.tensors) {
    const std::int64_t n = num_elements(tensor.shape);
    if (tensor.role == Role::step_scalar) {
      run.set(tensor.name, std::vector<double>{1.0});
    } else if (tensor.dtype == DType::i32) {
      std::vector<std::int32_t> values;
      for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<std::int32_t>(i * 7 % 5));
      run.set(tensor.name, values);
    } else if (tensor.role == Role::parameter || tensor.role == Role::input) {
      std::vector<double> values;
      for (std::int64_t i = 0; i < n; ++i) {
        values.push_back(tensor.name == "weights" ? (i == 1 ? 0.0 : 1.0)
                                                  : 0.5 * random_number(tensor.name, i));
      }
      run.set(tensor.name, values);
    }
  }
}

double loss_at(Interpreter& run, const std::string& name, std::vector<double> values, std::size_t i,
               double step) {
  values[i] += step;
  run.set(name, values);
  run.run({Phase::prepare, Phase::forward});
  return run.get(scalar_name::kLoss).at(0);
}

/// Up to four elements of every parameter against central differences.
void expect_gradients_of_differences(const Graph& graph) {
  Interpreter run(graph), probe(graph);
  fill(graph, run);
  fill(graph, probe);
  run.run({Phase::prepare, Phase::forward, Phase::backward, Phase::reduce});
  for (const TensorId id : tensors_with(graph, Role::parameter)) {
    const std::string& name = graph.tensor(id).name;
    const bool tied = graph.find_tensor(name + ".gradient_sum").has_value();
    const std::vector<double> gradient = run.get(name + (tied ? ".gradient_sum" : ".accumulator"));
    const std::vector<double> values = run.get(name);
    for (std::size_t i = 0; i < values.size(); i += 1 + values.size() / 4) {
      constexpr double h = 1e-3;
      const double near = loss_at(probe, name, values, i, h) - loss_at(probe, name, values, i, -h);
      const double far =
          loss_at(probe, name, values, i, 2 * h) - loss_at(probe, name, values, i, -2 * h);
      const double difference = (8 * near - far) / (12 * h);
      EXPECT_NEAR(gradient[i], difference, 1e-7 * std::max(1.0, std::abs(difference)))
          << name << " element " << i;
    }
    probe.set(name, values);
  }
}

constexpr ModelOptions kOptions{.precision = Precision::fp64, .microbatch = 2};

TransformerConfig small_transformer() {
  return {.layers = 2,
          .hidden = 4,
          .heads = 2,
          .feed_forward = 6,
          .vocabulary = 5,
          .sequence = 3,
          .dropout = 0.2,
          .moe = {}};
}

Graph gpt(const TransformerConfig& config, const ModelOptions& options = kOptions) {
  return build_graph({.preset = Preset::gpt, .size = {}, .shape = config}, OptimizerConfig{},
                     options);
}

/// A preset in the sizes of small_transformer.
Graph small(Preset preset, const std::function<void(TransformerConfig&)>& change) {
  ModelConfig model = preset_defaults(preset);
  auto& shape = std::get<TransformerConfig>(model.shape);
  const TransformerConfig sizes = small_transformer();
  shape.layers = sizes.layers;
  shape.hidden = sizes.hidden;
  shape.heads = sizes.heads;
  shape.feed_forward = sizes.feed_forward;
  shape.vocabulary = sizes.vocabulary;
  shape.sequence = sizes.sequence;
  change(shape);
  return build_graph(model, OptimizerConfig{}, kOptions);
}

TEST(GradientOf, Gpt) {
  TransformerConfig config = small_transformer();
  expect_gradients_of_differences(gpt(config));
  config.layers = 1;
  expect_gradients_of_differences(gpt(config));
}

TEST(GradientOf, GptVariants) {
  TransformerConfig config = small_transformer();
  config.norm = Norm::rms;
  config.activation = Activation::swiglu;
  config.tied_embedding = false;
  expect_gradients_of_differences(gpt(config));
  config = small_transformer();
  config.norm_position = NormPosition::post;
  config.positions = Positions::none;
  config.bias = false;
  config.activation = Activation::gelu_tanh;
  expect_gradients_of_differences(gpt(config));
}

TEST(GradientOf, GptWithLabelSmoothingAndDocuments) {
  ModelOptions options = kOptions;
  options.label_smoothing = 0.2;
  options.documents = true;
  expect_gradients_of_differences(gpt(small_transformer(), options));
}

TEST(GradientOf, Llama) {
  for (const std::int64_t key_value_heads : {1, 2}) {
    expect_gradients_of_differences(small(Preset::llama, [&](TransformerConfig& c) {
      c.hidden = 8;
      c.heads = 4;
      c.key_value_heads = 2 * key_value_heads;
      c.rotary_base = 10.0;
    }));
  }
}

TEST(GradientOf, Bert) {
  expect_gradients_of_differences(
      small(Preset::bert, [](TransformerConfig& c) { c.norm_epsilon = 1e-2; }));
}

TEST(GradientOf, Experts) {
  TransformerConfig config = small_transformer();
  config.sequence = 4;
  config.moe = MoeConfig{.experts = 3,
                         .every = 2,
                         .top_k = 2,
                         .group = 8,
                         .capacity_factor = 0.8,
                         .auxiliary_loss = 0.3};
  const auto moe = [&] {
    return build_graph({.preset = Preset::moe, .size = {}, .shape = config}, OptimizerConfig{},
                       kOptions);
  };
  expect_gradients_of_differences(moe());
  config.moe->every = config.moe->top_k = 1;
  config.moe->group = 2;
  config.activation = Activation::swiglu;
  config.bias = false;
  expect_gradients_of_differences(moe());
}

TEST(GradientOf, Mlp) {
  for (const Loss loss : {Loss::cross_entropy, Loss::squared_error}) {
    const MlpConfig config{.layers = 2,
                           .hidden = 4,
                           .features = 3,
                           .classes = 5,
                           .activation = Activation::gelu,
                           .dropout = 0.3,
                           .loss = loss,
                           .initializer = {}};
    expect_gradients_of_differences(build_graph(
        {.preset = Preset::mlp, .size = {}, .shape = config}, OptimizerConfig{}, kOptions));
  }
}

TEST(GradientOf, CustomBranchesAcrossLayers) {
  const auto linear = [](std::int64_t out) { return LinearLayer{out, Activation::gelu}; };
  const ResidualLayer residual{{{NormLayer{}, "", {}}, {linear(6), "", {}}, {linear(4), "", {}}}};
  CustomConfig config{.layers = {}, .loss = Loss::squared_error, .initializer = {}};
  config.layers = {{linear(4), "a", {}},
                   {residual, "b", {}},
                   {RepeatLayer{2, {{residual, "", {}}}}, "", {}},
                   {linear(4), "c", {}},
                   {CombineLayer{}, "", {"a", "b", "c"}},
                   {linear(3), "", {}}};
  ModelOptions options = kOptions;
  options.features = 3;
  const Graph graph = build_graph({.preset = Preset::custom, .size = {}, .shape = config},
                                  OptimizerConfig{}, options);
  EXPECT_EQ(graph.num_layers, 7);
  expect_gradients_of_differences(graph);
}

TEST(GradientOf, FreeModels) {
  for (const law::FreeModel& model : law::free_models()) {
    SCOPED_TRACE(model.name);
    expect_gradients_of_differences(law::free_graph(model, OptimizerConfig{}, kOptions));
  }
}

}  // namespace
}  // namespace alpa
