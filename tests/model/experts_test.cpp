#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/config/run_config.hpp"
#include "alpa/graph/training.hpp"
#include "alpa/model/build_graph.hpp"

#include "graph/interpreter.hpp"

namespace alpa {
namespace {

struct Published {
  std::string size;
  std::int64_t hidden, layers, experts, parameters;
};

/// Mixtures of experts of Alpa, OSDI'22: 16 heads, feed-forward 8 h, vocabulary 32000, sequence
/// 1024, groups of 2048 tokens, top 2, experts in every second layer.
const std::vector<Published> kPublished = {
    {"380M", 768, 8, 8, 384'299'520},      {"1.3B", 768, 16, 16, 1'347'706'368},
    {"2.4B", 1024, 16, 16, 2'384'144'384}, {"10B", 1536, 16, 32, 10'171'628'544},
    {"27B", 2048, 16, 48, 26'651'021'312}, {"70B", 2048, 32, 64, 70'419'517'440},
};

RunConfig config_of(const std::string& size) {
  return parse_run_config("model: {preset: moe, size: " + size +
                              "}\ndata: {source: synthetic, synthetic: {kind: tokens}}\n"
                              "training: {global_batch: 1024, steps: 1}\n",
                          "moe.yaml");
}

/// Attention 4h^2 + 4h and two norms 4h in each layer; a feed-forward 16h^2 + 9h in every other
/// layer, the rest E of them and a router hE; embeddings (V + T)h, the last norm 2h.
std::int64_t parameters_of(const Published& p) {
  const std::int64_t h = p.hidden, vocabulary = 32000, sequence = 1024;
  const std::int64_t feed_forward = 16 * h * h + 9 * h;
  return p.layers * (4 * h * h + 8 * h) +
         p.layers / 2 * (feed_forward + h * p.experts + p.experts * feed_forward) +
         (vocabulary + sequence) * h + 2 * h;
}

/// Forward: 8nh^2 and 4nTh of attention, 32nh^2 of a feed-forward, 2nhE of a router, 32h^2 for each
/// slot of an expert (E of ceil(1.25 * 2 * 2048 / E) slots a group), 2nhV of the logits; three
/// times as much with backward.
double flops_of_step(const Published& p, double samples) {
  const auto h = static_cast<double>(p.hidden), experts = static_cast<double>(p.experts);
  const double tokens = samples * 1024, groups = tokens / 2048;
  const double slots = experts * std::ceil(1.25 * 2 * 2048 / experts);
  const double layer = 8 * tokens * h * h + 4 * tokens * 1024 * h;
  const double pair =
      2 * layer + 32 * tokens * h * h + 2 * tokens * h * experts + groups * slots * 32 * h * h;
  const double pairs = static_cast<double>(p.layers) / 2;
  return 3 * (pairs * pair + 2 * tokens * h * 32000);
}

TEST(Moe, PublishedSizesHaveTheNumbersOfTheClosedForms) {
  for (const Published& published : kPublished) {
    const Graph graph = build_graph(config_of(published.size), 4);
    EXPECT_EQ(num_parameters(graph), parameters_of(published)) << published.size;
    EXPECT_EQ(num_parameters(graph), published.parameters) << published.size;
    const double flops = flops_of_step(published, 4);
    EXPECT_NEAR(flops_per_microbatch(graph).value, flops, 1e-12 * flops) << published.size;
  }
}

TransformerConfig tiny() {
  return {.layers = 2,
          .hidden = 4,
          .heads = 2,
          .feed_forward = 6,
          .vocabulary = 5,
          .sequence = 4,
          .dropout = 0.0,
          .moe = MoeConfig{.experts = 3,
                           .every = 2,
                           .top_k = 2,
                           .group = 8,
                           .capacity_factor = 0.75,
                           .evaluation_capacity_factor = 2.0,
                           .auxiliary_loss = 0.5}};
}

Graph graph_of(const TransformerConfig& config, std::int64_t microbatch = 4,
               std::int64_t global_batch = 8) {
  return build_graph(
      {.preset = Preset::moe, .size = {}, .shape = config}, OptimizerConfig{},
      {.precision = Precision::fp64, .microbatch = microbatch, .global_batch = global_batch});
}

TEST(Moe, EvaluationIsTheSameGraphWithItsOwnSlots) {
  const Graph graph = graph_of(tiny());
  ASSERT_NE(graph.evaluation, nullptr);
  const Graph& other = *graph.evaluation;
  ASSERT_EQ(graph.tensors.size(), other.tensors.size());
  int differ = 0;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    EXPECT_EQ(graph.tensors[i].name, other.tensors[i].name);
    differ += graph.tensors[i].shape != other.tensors[i].shape;
  }
  EXPECT_GT(differ, 0);
  ASSERT_EQ(graph.operators.size(), other.operators.size());
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    EXPECT_EQ(graph.operators[i].name, other.operators[i].name);
    EXPECT_EQ(graph.operators[i].operands, other.operators[i].operands);
  }
  const auto slots = graph.find_tensor("layers.1.experts.dispatch");
  ASSERT_TRUE(slots);
  EXPECT_EQ(graph.tensor(*slots).shape, (Shape{3, 2, 4, 4}));   // ceil(0.75 * 2 * 8 / 3)
  EXPECT_EQ(other.tensor(*slots).shape, (Shape{3, 2, 11, 4}));  // ceil(2 * 2 * 8 / 3)
  TransformerConfig equal = tiny();
  equal.moe->evaluation_capacity_factor = equal.moe->capacity_factor;
  EXPECT_EQ(graph_of(equal).evaluation, nullptr);
  EXPECT_NE(fingerprint(graph), fingerprint(graph_of(equal)));
}

TEST(Moe, ExpertsStandInEveryNthLayer) {
  TransformerConfig config = tiny();
  config.layers = 7;
  config.moe->every = 3;  // layers 2 and 5
  const Graph graph = graph_of(config);
  for (int layer = 0; layer < 7; ++layer) {
    const std::string name = "layers." + std::to_string(layer);
    const bool experts = layer == 2 || layer == 5;
    EXPECT_EQ(graph.find_tensor(name + ".experts.in.weight").has_value(), experts) << layer;
    EXPECT_EQ(graph.find_tensor(name + ".feed_forward.in.weight").has_value(), !experts) << layer;
  }
}

/// Loss and values after prepare and forward, with random parameters and tokens.
testing::Interpreter run_forward(const Graph& graph, double training) {
  testing::Interpreter run(graph);
  for (const Tensor& tensor : graph.tensors) {
    const std::int64_t n = num_elements(tensor.shape);
    if (tensor.role == Role::step_scalar) {
      run.set(tensor.name,
              std::vector<double>{tensor.name == scalar_name::kTraining ? training : 0.1});
    } else if (tensor.dtype == DType::i32 && tensor.role == Role::input) {
      std::vector<std::int32_t> values;
      for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<std::int32_t>(i * i % 5));
      run.set(tensor.name, values);
    } else if (tensor.role == Role::parameter || tensor.role == Role::input) {
      std::vector<double> values;
      for (std::int64_t i = 0; i < n; ++i) {
        values.push_back(normal(stream_key(5, tensor.name), 0, static_cast<std::uint64_t>(i)));
      }
      run.set(tensor.name, values);
    }
  }
  run.run({Phase::prepare, Phase::forward});
  return run;
}

/// Switch and GShard: weight * mean over groups of E * sum over experts of (share of tokens whose
/// first choice it is) * (mean probability). The microbatch of 4 samples, 2 groups, is half of the
/// global batch.
TEST(Moe, AuxiliaryLossIsTheClosedForm) {
  const Graph graph = graph_of(tiny());
  testing::Interpreter run = run_forward(graph, 1.0);
  const std::vector<double> p = run.get("layers.1.experts.router.softmax");
  const int groups = 2, tokens = 8, experts = 3;
  double expected = 0.0;
  for (int b = 0; b < groups; ++b) {
    for (int x = 0; x < experts; ++x) {
      double first = 0.0, mean = 0.0;
      for (int s = 0; s < tokens; ++s) {
        const double* row = p.data() + (b * tokens + s) * experts;
        first += std::max_element(row, row + experts) == row + x ? 1.0 / tokens : 0.0;
        mean += row[x] / tokens;
      }
      expected += 0.5 * experts * first * mean / 4;  // of the 4 groups of the global batch
    }
  }
  const double with = run.get(scalar_name::kLoss).at(0);
  const double without = run_forward(graph, 0.0).get(scalar_name::kLoss).at(0);
  EXPECT_NEAR(with - without, expected, 1e-12);
  EXPECT_GT(expected, 0.0);
}

TEST(Moe, RefusesAMicrobatchThatCutsAGroup) {
  try {
    (void)graph_of(tiny(), 3, 9);
    ADD_FAILURE() << "was built";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("a group of 8"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace alpa
