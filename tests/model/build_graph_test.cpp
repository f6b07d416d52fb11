#include "alpa/model/build_graph.hpp"

#include <cmath>
#include <functional>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/graph/text.hpp"

namespace alpa {
namespace {

constexpr ModelOptions kDouble{.precision = Precision::fp64, .microbatch = 2};

ModelConfig small_gpt(const std::function<void(TransformerConfig&)>& change = {}) {
  ModelConfig model = preset_defaults(Preset::gpt);
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape = {.layers = 3,
           .hidden = 8,
           .heads = 2,
           .feed_forward = 32,
           .vocabulary = 11,
           .sequence = 5,
           .dropout = 0.1,
           .moe = {}};
  if (change) change(shape);
  return model;
}

Graph gpt_graph(const std::function<void(TransformerConfig&)>& change = {}) {
  return build_graph(small_gpt(change), OptimizerConfig{}, kDouble);
}

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

const Tensor& named(const Graph& graph, const std::string& name) {
  const auto id = graph.find_tensor(name);
  if (!id) throw UserError("no tensor " + name);
  return graph.tensor(*id);
}

bool has(const Graph& graph, const std::string& name) {
  return graph.find_tensor(name).has_value();
}

TEST(Gpt, HasTheNumberOfParametersOfTheClosedForm) {
  for (const std::int64_t layers : {1, 2, 4}) {
    const std::int64_t h = 8, v = 11, t = 5;
    const Graph graph = gpt_graph([&](TransformerConfig& c) { c.layers = layers; });
    EXPECT_EQ(num_parameters(graph), layers * (12 * h * h + 13 * h) + (v + t) * h + 2 * h);
    EXPECT_EQ(graph.num_layers, layers);
  }
}

TEST(Gpt, OfThePublishedShapeHas124MillionParameters) {
  const Graph graph = gpt_graph([](TransformerConfig& c) {
    c = {.layers = 12,
         .hidden = 768,
         .heads = 12,
         .feed_forward = 3072,
         .vocabulary = 50257,
         .sequence = 1024,
         .moe = {}};
  });
  EXPECT_EQ(num_parameters(graph), 124'439'808);
}

/// Preset and size as a run file names them.
ModelConfig published(const std::string& preset, const std::string& size) {
  return parse_run_config("model: {preset: " + preset + ", size: " + size + "}\n", "test.yaml", {})
      .model;
}

// Numbers of parameters as the published checkpoints have them.
TEST(Llama, OfPublishedSizesHasThePublishedNumberOfParameters) {
  const std::map<std::string, std::int64_t> sizes = {{"7B", 6'738'415'616},
                                                     {"13B", 13'015'864'320},
                                                     {"70B", 68'976'648'192},
                                                     {"3-8B", 8'030'261'248},
                                                     {"3-70B", 70'553'706'496}};
  for (const auto& [size, parameters] : sizes) {
    const Graph graph = build_graph(published("llama", size), OptimizerConfig{}, {});
    EXPECT_EQ(num_parameters(graph), parameters) << size;
  }
}

// As BertForMaskedLM: two token types, no pooler, a decoder tied to the embedding.
TEST(Bert, OfPublishedSizesHasThePublishedNumberOfParameters) {
  const std::map<std::string, std::int64_t> sizes = {{"base", 109'514'298}, {"large", 335'174'458}};
  for (const auto& [size, parameters] : sizes) {
    const Graph graph = build_graph(published("bert", size), OptimizerConfig{}, {});
    EXPECT_EQ(num_parameters(graph), parameters) << size;
  }
}

TEST(Llama, KeepsHeadsOfKeysAndTheirQueriesApart) {
  ModelConfig model = preset_defaults(Preset::llama);
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape.heads = 6;
  shape.hidden = 24;
  shape.key_value_heads = 2;
  const Graph graph = build_graph(model, OptimizerConfig{}, {});
  EXPECT_EQ(named(graph, "layers.0.attention.query.weight").shape, (Shape{24, 2, 3, 4}));
  EXPECT_EQ(named(graph, "layers.0.attention.key_value.weight").shape, (Shape{24, 2, 2, 4}));
  EXPECT_EQ(named(graph, "layers.0.attention.output.weight").shape, (Shape{2, 3, 4, 24}));
  shape.key_value_heads = 6;
  EXPECT_TRUE(has(build_graph(model, OptimizerConfig{}, {}), "layers.0.attention.qkv.weight"));
  shape.key_value_heads = 4;
  EXPECT_EQ(message_of([&] { (void)build_graph(model, OptimizerConfig{}, {}); }),
            "model.key_value_heads: 4 does not divide heads = 6");
}

TEST(Transformer, AsksForDocumentsWhereTheyAreWanted) {
  ModelOptions options = kDouble;
  EXPECT_FALSE(has(build_graph(small_gpt(), OptimizerConfig{}, options), "documents"));
  options.documents = true;
  const Graph graph = build_graph(small_gpt(), OptimizerConfig{}, options);
  EXPECT_EQ(named(graph, "documents").shape, named(graph, "tokens").shape);
  EXPECT_EQ(named(graph, "documents").dtype, DType::i32);
}

// Per token and layer the products of 12 h^2 weights, the head, and attention over the full square;
// backward costs twice as much.
TEST(Gpt, FlopsAreThreeTimesThoseOfForward) {
  const double b = 2, t = 5, h = 8, f = 32, v = 11, layers = 3;
  const double products = 2 * b * t * (layers * (4 * h * h + 2 * h * f) + h * v);
  const double attention = layers * 4 * b * t * t * h;
  EXPECT_DOUBLE_EQ(flops_per_microbatch(gpt_graph()).value, 3 * (products + attention));
}

TEST(Gpt, FlopsGrowWithTheMicrobatch) {
  ModelOptions options = kDouble;
  const double two = flops_per_microbatch(gpt_graph()).value;
  options.microbatch = 6;
  const Graph graph = build_graph(small_gpt(), OptimizerConfig{}, options);
  EXPECT_DOUBLE_EQ(flops_per_microbatch(graph).value, 3 * two);
  EXPECT_EQ(graph.microbatch_size, 6);
}

TEST(Gpt, TiesTheEmbeddingThroughAReplicaOfTheLastLayer) {
  const Graph graph = gpt_graph();
  EXPECT_EQ(named(graph, "embedding.weight").layer, 0);
  const Tensor& replica = named(graph, "embedding.weight@2");
  EXPECT_EQ(replica.role, Role::replica);
  EXPECT_EQ(replica.layer, 2);
  EXPECT_EQ(named(graph, "embedding.weight@2.accumulator").layer, 2);
  EXPECT_EQ(named(graph, "embedding.weight.gradient_sum").layer, 0);
  EXPECT_FALSE(has(graph, "head.weight"));

  const Graph untied = gpt_graph([](TransformerConfig& c) { c.tied_embedding = false; });
  EXPECT_TRUE(tensors_with(untied, Role::replica).empty());
  EXPECT_EQ(named(untied, "head.weight").layer, 2);
  EXPECT_EQ(num_parameters(untied), num_parameters(graph) + 11 * 8);
}

TEST(Gpt, InOneLayerNeedsNoReplica) {
  const Graph graph = gpt_graph([](TransformerConfig& c) { c.layers = 1; });
  EXPECT_TRUE(tensors_with(graph, Role::replica).empty());
  EXPECT_EQ(tensors_with(graph, Role::accumulator).size(),
            tensors_with(graph, Role::parameter).size());
}

TEST(Gpt, HasTheInputsOfTheDataModule) {
  const Graph graph = gpt_graph();
  EXPECT_EQ(named(graph, "tokens").dtype, DType::i32);
  EXPECT_EQ(named(graph, "labels").shape, (Shape{2, 5}));
  EXPECT_EQ(named(graph, "weights").dtype, DType::f64);
  EXPECT_EQ(tensors_with(graph, Role::input).size(), 3u);
  EXPECT_EQ(graph.parallel_letters, "hfv");
}

TEST(Gpt, ScalesWeightsThatEndAResidualBranch) {
  const Graph graph = gpt_graph();
  EXPECT_DOUBLE_EQ(named(graph, "layers.1.attention.qkv.weight").initializer.deviation, 0.02);
  EXPECT_DOUBLE_EQ(named(graph, "layers.1.feed_forward.out.weight").initializer.deviation,
                   0.02 / std::sqrt(6.0));
  EXPECT_DOUBLE_EQ(named(graph, "final_norm.weight").initializer.value, 1.0);
}

TEST(Gpt, EveryVariantIsAValidGraph) {
  using C = TransformerConfig;
  const std::vector<std::function<void(C&)>> variants = {
      [](C& c) { c.norm = Norm::rms; },
      [](C& c) { c.norm_position = NormPosition::post; },
      [](C& c) { c.activation = Activation::swiglu; },
      [](C& c) { c.activation = Activation::gelu_tanh; },
      [](C& c) { c.activation = Activation::relu; },
      [](C& c) { c.bias = false; },
      [](C& c) { c.positions = Positions::none; },
      [](C& c) { c.dropout = 0.0; },
      [](C& c) { c.initializer.std = std::nullopt; },
  };
  for (const auto& change : variants) {
    const Graph graph = gpt_graph(change);
    EXPECT_NO_THROW(validate(graph));
    EXPECT_EQ(tensors_with(graph, Role::optimizer_state).size(),
              2 * tensors_with(graph, Role::parameter).size());
  }
  EXPECT_FALSE(has(gpt_graph(variants[0]), "final_norm.bias"));
  EXPECT_FALSE(has(gpt_graph(variants[5]), "layers.0.attention.qkv.bias"));
  EXPECT_TRUE(has(gpt_graph(variants[2]), "layers.0.feed_forward.gate.weight"));
}

TEST(Gpt, DecaysOnlyWhatNoGlobExcludes) {
  const Graph graph = gpt_graph();
  std::size_t decayed = 0;
  for (const Operator& op : graph.operators) {
    const auto* update = std::get_if<Update>(&op.kernel);
    if (update == nullptr) continue;
    const std::string name = graph.tensor(op.results.at(0)).name;
    const bool excluded = name.ends_with(".bias") || name.find("norm") != std::string::npos ||
                          name == "positions.weight";
    EXPECT_EQ(update->weight_decay, excluded ? 0.0 : 0.1) << name;
    decayed += excluded ? 0 : 1;
  }
  EXPECT_EQ(decayed, 1u + 3u * 4u);
}

TEST(Gpt, EqualConfigurationsGiveEqualGraphs) {
  EXPECT_EQ(to_text(gpt_graph()), to_text(gpt_graph()));
  EXPECT_NE(fingerprint(gpt_graph()), fingerprint(gpt_graph([](auto& c) { c.dropout = 0.2; })));
}

ModelConfig small_mlp() {
  ModelConfig model = preset_defaults(Preset::mlp);
  model.shape = MlpConfig{
      .layers = 3, .hidden = 6, .features = 4, .classes = 5, .dropout = 0.5, .initializer = {}};
  return model;
}

TEST(Mlp, HasALayerPerLinear) {
  const Graph graph = build_graph(small_mlp(), OptimizerConfig{}, kDouble);
  EXPECT_EQ(graph.num_layers, 4);
  EXPECT_EQ(num_parameters(graph), 4 * 6 + 6 + 2 * (6 * 6 + 6) + 6 * 5 + 5);
  EXPECT_EQ(named(graph, "layers.3.linear.weight").layer, 3);
  EXPECT_EQ(named(graph, "features").shape, (Shape{2, 4}));
  EXPECT_EQ(named(graph, "labels").layer, 3);
}

TEST(Mlp, WeightsAlternateBetweenColumnsAndRows) {
  const Graph graph = build_graph(small_mlp(), OptimizerConfig{}, kDouble);
  EXPECT_EQ(named(graph, "layers.0.linear.weight").dims, "if");
  EXPECT_EQ(named(graph, "layers.1.linear.weight").dims, "fe");
  EXPECT_EQ(named(graph, "layers.2.linear.weight").dims, "ef");
  EXPECT_EQ(named(graph, "layers.3.linear.weight").dims, "fc");
  EXPECT_EQ(graph.parallel_letters, "f");
}

TEST(Mlp, OfTheBenchmarkHas30MillionParameters) {
  ModelConfig model = preset_defaults(Preset::mlp);
  model.shape =
      MlpConfig{.layers = 8, .hidden = 2048, .features = 512, .classes = 10, .initializer = {}};
  const Graph graph = build_graph(model, OptimizerConfig{}, {.microbatch = 32});
  EXPECT_EQ(num_parameters(graph), 30'445'578);
}

ModelConfig custom(std::vector<LayerConfig> layers, Loss loss = Loss::cross_entropy) {
  return {.preset = Preset::custom, .size = {}, .shape = CustomConfig{std::move(layers), loss, {}}};
}

LayerConfig entry(decltype(LayerConfig::layer) layer, const std::string& name = "",
                  std::vector<std::string> input = {}) {
  return {std::move(layer), name, std::move(input)};
}

ModelOptions with_features(std::int64_t features) {
  ModelOptions options = kDouble;
  options.features = features;
  return options;
}

TEST(Custom, WritesOutRepeatsAndKeepsResidualsWhole) {
  const ResidualLayer residual{{entry(NormLayer{}), entry(LinearLayer{12, Activation::gelu}),
                                entry(LinearLayer{6, std::nullopt})}};
  const ModelConfig model =
      custom({entry(LinearLayer{6, std::nullopt}), entry(RepeatLayer{3, {entry(residual)}}),
              entry(LinearLayer{5, std::nullopt})});
  const Graph graph = build_graph(model, OptimizerConfig{}, with_features(4));
  EXPECT_EQ(graph.num_layers, 5);
  EXPECT_EQ(num_parameters(graph), 4 * 6 + 6 + 3 * (12 + 2 * 6 * 12 + 12 + 6) + 6 * 5 + 5);
  EXPECT_EQ(named(graph, "layers.2.1.linear.weight").dims, "ef");
  EXPECT_EQ(named(graph, "layers.2.2.linear.weight").dims, "fe");
  EXPECT_EQ(named(graph, "layers.4.linear.weight").dims, "ec");
}

TEST(Custom, BranchesMeetInAnAddition) {
  const ModelConfig model = custom(
      {entry(LinearLayer{6, std::nullopt}, "a"), entry(LinearLayer{6, Activation::relu}, "b"),
       entry(CombineLayer{}, "", {"a", "b"}), entry(LinearLayer{5, std::nullopt})},
      Loss::squared_error);
  const Graph graph = build_graph(model, OptimizerConfig{}, with_features(4));
  EXPECT_EQ(graph.num_layers, 4);
  EXPECT_EQ(named(graph, "targets").shape, (Shape{2, 5}));
  EXPECT_EQ(named(graph, "weights").shape, (Shape{2}));
}

TEST(Custom, NamesWhatCannotBeBuilt) {
  const auto build = [](const ModelConfig& model, const ModelOptions& options) {
    return message_of([&] { static_cast<void>(build_graph(model, OptimizerConfig{}, options)); });
  };
  const ModelConfig uneven = custom(
      {entry(LinearLayer{6, std::nullopt}), entry(ResidualLayer{{entry(LinearLayer{7, {}})}})});
  EXPECT_NE(build(uneven, with_features(4))
                .find("layers[1] (residual): found shapes [6] before and [7] after"),
            std::string::npos)
      << build(uneven, with_features(4));
  const ModelConfig lost = custom({entry(LinearLayer{6, {}}, "", {"nowhere"})});
  EXPECT_NE(build(lost, with_features(4)).find("nowhere"), std::string::npos);
  EXPECT_NE(build(lost, kDouble).find("features"), std::string::npos);
}

TEST(BuildGraph, SaysWhatIsNotAvailable) {
  const auto refused = [](const ModelConfig& model, const ModelOptions& options = kDouble) {
    return message_of([&] { static_cast<void>(build_graph(model, OptimizerConfig{}, options)); });
  };
  EXPECT_NE(refused(small_gpt([](auto& c) { c.heads = 3; })).find("3 does not divide"),
            std::string::npos);
}

TEST(BuildGraph, LowPrecisionsKeepF32CopiesOfWhatIsTrained) {
  for (const auto& [precision, low] :
       {std::pair{Precision::bf16, DType::bf16}, {Precision::fp16, DType::f16}}) {
    ModelOptions options = kDouble;
    options.precision = precision;
    const Graph graph = build_graph(small_gpt(), OptimizerConfig{}, options);
    EXPECT_EQ(named(graph, "embedding.weight").dtype, DType::f32);
    EXPECT_EQ(named(graph, "embedding.weight@0").dtype, low);
    EXPECT_EQ(named(graph, "embedding").dtype, low);
    EXPECT_EQ(named(graph, "weights").dtype, DType::f32);
    EXPECT_EQ(named(graph, "layers.0.attention.lse").dtype, DType::f32);
    EXPECT_EQ(num_parameters(graph),
              num_parameters(build_graph(small_gpt(), OptimizerConfig{}, kDouble)));
  }
}

}  // namespace
}  // namespace alpa
