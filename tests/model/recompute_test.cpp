#include "alpa/graph/recompute.hpp"

#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/base/random.hpp"
#include "alpa/graph/text.hpp"
#include "alpa/graph/training.hpp"
#include "alpa/model/build_graph.hpp"

#include "graph/interpreter.hpp"
#include "law/free_models.hpp"

/// Graphs of all models in which backward computes again what it reads.
namespace alpa {
namespace {

using testing::Interpreter;

constexpr ModelOptions kOptions{.precision = Precision::fp64, .microbatch = 4};

Graph transformer(Preset preset, const std::function<void(TransformerConfig&)>& change = {}) {
  ModelConfig model = preset_defaults(preset);
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape.layers = 3;
  shape.hidden = 8;
  shape.heads = 4;
  if (shape.key_value_heads) shape.key_value_heads = 2;
  shape.feed_forward = 12;
  shape.vocabulary = 5;
  shape.sequence = 4;
  shape.dropout = 0.2;
  if (change) change(shape);
  return build_graph(model, OptimizerConfig{}, kOptions);
}

std::map<std::string, Graph> models() {
  std::map<std::string, Graph> all;
  all["gpt"] = transformer(Preset::gpt);
  all["llama"] = transformer(Preset::llama);
  all["bert"] = transformer(Preset::bert);
  all["moe"] = transformer(Preset::moe, [](TransformerConfig& c) {
    c.moe = MoeConfig{.experts = 3,
                      .every = 2,
                      .top_k = 2,
                      .group = 8,
                      .capacity_factor = 0.8,
                      .evaluation_capacity_factor = 1.5,
                      .auxiliary_loss = 0.3};
  });
  const MlpConfig mlp{.layers = 3,
                      .hidden = 4,
                      .features = 3,
                      .classes = 5,
                      .activation = Activation::gelu,
                      .dropout = 0.3,
                      .initializer = {}};
  all["mlp"] =
      build_graph({.preset = Preset::mlp, .size = {}, .shape = mlp}, OptimizerConfig{}, kOptions);
  WideResnetConfig images{
      .layers = 14, .channels = 3, .width = 2, .image = 32, .classes = 5, .batch_norm = {}};
  images.batch_norm.group = 2;
  all["wide_resnet"] = build_graph({.preset = Preset::wide_resnet, .size = {}, .shape = images},
                                   OptimizerConfig{}, kOptions);
  for (const law::FreeModel& model : law::free_models()) {
    all[model.name] = law::free_graph(model, OptimizerConfig{}, kOptions);
  }
  return all;
}

Graph everywhere(const Graph& graph, Recompute choice) {
  return with_recomputation(graph, recompute_everywhere(graph, choice));
}

std::vector<Recompute> random_choice(const Graph& graph, std::mt19937_64& random) {
  std::vector<Recompute> chosen(static_cast<std::size_t>(graph.num_layers));
  for (Recompute& of_layer : chosen) of_layer = static_cast<Recompute>(random() % 3);
  return chosen;
}

std::vector<int> makers(const Graph& graph) {
  std::vector<int> maker(graph.tensors.size(), -1);
  for (std::size_t o = 0; o < graph.operators.size(); ++o) {
    for (const TensorId t : graph.operators[o].results) maker[t.index()] = static_cast<int>(o);
  }
  return maker;
}

/// Activations that forward makes and backward reads.
std::set<std::string> stashed(const Graph& graph) {
  const auto maker = makers(graph);
  std::set<std::string> names;
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::backward) continue;
    for (const TensorId t : op.operands) {
      if (graph.tensor(t).role != Role::activation) continue;
      const auto& by = graph.operators[static_cast<std::size_t>(maker[t.index()])];
      if (by.phase == Phase::forward) names.insert(graph.tensor(t).name);
    }
  }
  return names;
}

/// Activations of forward that operators of other layers read.
std::set<std::string> borders(const Graph& graph) {
  const auto maker = makers(graph);
  std::set<std::string> names;
  for (const Operator& op : graph.operators) {
    for (const TensorId t : op.operands) {
      const int by = maker[t.index()];
      if (by < 0 || graph.tensor(t).role != Role::activation) continue;
      const Operator& made = graph.operators[static_cast<std::size_t>(by)];
      if (made.phase == Phase::forward && made.layer != op.layer) {
        names.insert(graph.tensor(t).name);
      }
    }
  }
  return names;
}

/// Inputs near 1/2 in size, labels below 5.
void fill(const Graph& graph, Interpreter& run) {
  for (const Tensor& tensor : graph.tensors) {
    std::vector<double> values;
    for (std::int64_t i = 0; i < num_elements(tensor.shape); ++i) {
      const auto index = static_cast<std::uint64_t>(i);
      const bool whole = tensor.dtype == DType::i32;
      values.push_back(whole ? static_cast<double>(i * 7 % 5)
                             : 0.5 * normal(stream_key(3, tensor.name), 0, index));
    }
    if (tensor.role == Role::step_scalar) run.set(tensor.name, std::vector<double>{1.0});
    if (tensor.role == Role::parameter || tensor.role == Role::input) {
      run.set(tensor.name, values);
    }
  }
}

TEST(Recomputation, OfNothingIsTheGraph) {
  const Graph graph = transformer(Preset::gpt);
  EXPECT_EQ(to_text(with_recomputation(graph, {})), to_text(graph));
  const std::vector<Recompute> none(3, Recompute::none);
  EXPECT_EQ(to_text(with_recomputation(graph, none)), to_text(graph));
  EXPECT_TRUE(with_recomputation(graph, none).recompute.empty());
  EXPECT_TRUE(recompute_everywhere(graph, Recompute::none).empty());
}

TEST(Recomputation, IsUndone) {
  std::mt19937_64 random(5);
  for (const auto& [name, graph] : models()) {
    SCOPED_TRACE(name);
    for (int i = 0; i < 8; ++i) {
      const Graph made = with_recomputation(graph, random_choice(graph, random));
      EXPECT_EQ(to_text(without_recomputation(made)), to_text(graph));
      EXPECT_EQ(fingerprint(made), fingerprint(graph));
      EXPECT_EQ(made.evaluation == nullptr, graph.evaluation == nullptr);
    }
  }
}

TEST(Recomputation, LeavesPrepareAndForwardWithTheirIds) {
  for (const auto& [name, graph] : models()) {
    SCOPED_TRACE(name);
    const Graph made = everywhere(graph, Recompute::full);
    for (std::size_t t = 0; t < graph.tensors.size(); ++t) {
      EXPECT_EQ(made.tensors[t].name, graph.tensors[t].name);
    }
    for (std::size_t o = 0; o < graph.operators.size(); ++o) {
      if (graph.operators[o].phase > Phase::forward) break;
      EXPECT_EQ(made.operators[o].name, graph.operators[o].name);
      EXPECT_EQ(made.operators[o].operands, graph.operators[o].operands);
    }
  }
}

TEST(Recomputation, OfWholeLayersKeepsOnlyWhatCrossesBorders) {
  for (const auto& [name, graph] : models()) {
    SCOPED_TRACE(name);
    const std::set<std::string> border = borders(graph);
    for (const std::string& kept : stashed(everywhere(graph, Recompute::full))) {
      EXPECT_TRUE(border.contains(kept)) << kept;
    }
    EXPECT_LE(stashed(everywhere(graph, Recompute::full)).size(), border.size());
    EXPECT_GE(stashed(graph).size(), border.size());
    if (name == "gpt") {
      EXPECT_EQ(stashed(everywhere(graph, Recompute::full)).size(), 2U);
      EXPECT_GT(stashed(graph).size(), 30U);
    }
  }
}

TEST(Recomputation, RepeatsOnlyWhatBackwardReads) {
  std::mt19937_64 random(6);
  for (const auto& [name, graph] : models()) {
    SCOPED_TRACE(name);
    const Graph made = with_recomputation(graph, random_choice(graph, random));
    std::set<TensorId> read;
    for (const Operator& op : made.operators) read.insert(op.operands.begin(), op.operands.end());
    for (const Operator& op : made.operators) {
      if (!op.copy_of.valid()) continue;
      const Operator& original = made.op(op.copy_of);
      EXPECT_EQ(original.phase, Phase::forward);
      EXPECT_EQ(op.phase, Phase::backward);
      EXPECT_EQ(op.layer, original.layer);
      EXPECT_EQ(op.name, "recomputed." + original.name);
      EXPECT_TRUE(op.kernel == original.kernel) << "so random numbers are the same";
      EXPECT_TRUE(op.rule == original.rule);
      EXPECT_TRUE(std::any_of(op.results.begin(), op.results.end(), [&](TensorId t) {
        return read.contains(t);
      })) << op.name;
      for (const TensorId t : op.results) {
        EXPECT_EQ(made.tensor(t).role, Role::activation) << "nothing is changed in place";
      }
    }
  }
}

// The second product of a feed-forward part goes into a sum that only the next layer reads.
TEST(Recomputation, LeavesOutWhatNoGradientNeeds) {
  const Graph made = everywhere(transformer(Preset::gpt), Recompute::full);
  std::set<std::string> names;
  for (const Operator& op : made.operators) names.insert(op.name);
  EXPECT_TRUE(names.contains("recomputed.layers.1.feed_forward.in"));
  EXPECT_FALSE(names.contains("recomputed.layers.1.feed_forward.out"));
}

TEST(Recomputation, OfAttentionRepeatsNothingElse) {
  for (const auto& [name, graph] : models()) {
    SCOPED_TRACE(name);
    int attentions = 0;
    for (const Operator& op : graph.operators) {
      attentions += std::holds_alternative<Attention>(op.kernel) ? 1 : 0;
    }
    const Graph made = everywhere(graph, Recompute::attention);
    int copies = 0;
    for (const Operator& op : made.operators) {
      if (!op.copy_of.valid()) continue;
      ++copies;
      EXPECT_TRUE(std::holds_alternative<Attention>(op.kernel)) << op.name;
      EXPECT_FALSE(stashed(made).contains(made.tensor(made.op(op.copy_of).results[0]).name));
    }
    EXPECT_EQ(copies, attentions);
  }
}

TEST(Recomputation, CountsItsFlopsApart) {
  const Graph graph = transformer(Preset::gpt);
  const Graph made = everywhere(graph, Recompute::attention);
  EXPECT_EQ(flops_per_microbatch(made), flops_per_microbatch(graph));
  EXPECT_EQ(recomputed_flops_per_microbatch(graph).value, 0.0);
  // Two products of [b h t d] and [b h s d] in each of three layers.
  EXPECT_EQ(recomputed_flops_per_microbatch(made).value, 3 * 2 * 2.0 * (4 * 4 * 4 * 4 * 2));
  // Forward of each layer but its last product; of the last layer all.
  double forward = 0.0;
  for (const Operator& op : graph.operators) {
    if (op.phase == Phase::forward) forward += flops_of(op).value;
  }
  const double left_out = 2 * 2.0 * (4 * 4) * 12 * 8;
  const Graph full = everywhere(graph, Recompute::full);
  EXPECT_EQ(flops_per_microbatch(full), flops_per_microbatch(graph));
  EXPECT_EQ(recomputed_flops_per_microbatch(full).value, forward - left_out);
}

// The same operators on the same values: not a bit differs.
TEST(Recomputation, ChangesNoGradient) {
  std::mt19937_64 random(7);
  for (const auto& [name, graph] : models()) {
    SCOPED_TRACE(name);
    const auto gradients = [&](const Graph& of) {
      Interpreter run(of);
      fill(of, run);
      run.run({Phase::prepare, Phase::forward, Phase::backward});
      std::map<std::string, std::vector<double>> all;
      for (const TensorId t : tensors_with(of, Role::accumulator)) {
        all[of.tensor(t).name] = run.get(of.tensor(t).name);
      }
      return all;
    };
    const auto truth = gradients(graph);
    EXPECT_EQ(gradients(everywhere(graph, Recompute::full)), truth);
    EXPECT_EQ(gradients(with_recomputation(graph, random_choice(graph, random))), truth);
  }
}

TEST(Recomputation, NeedsAChoiceForEveryLayer) {
  const Graph graph = transformer(Preset::gpt);
  const std::vector<Recompute> two(2, Recompute::full);
  try {
    static_cast<void>(with_recomputation(graph, two));
    FAIL() << "accepted";
  } catch (const PlanError& error) {
    EXPECT_STREQ(error.what(), "recompute: found choices for 2 layers, the model has 3");
  }
}

}  // namespace
}  // namespace alpa
