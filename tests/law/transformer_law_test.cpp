#include <cmath>

#include <gtest/gtest.h>

#include "law/models.hpp"
#include "law/random_law.hpp"

/// The law of the project for the members of the transformer family: rotary positions, grouped
/// heads, gated feed-forwards, encoders, documents, label smoothing and sum losses.
namespace alpa::law {
namespace {

enum class Member : std::uint8_t { llama, bert, documents };

std::string name_of_member(Member member) {
  switch (member) {
    case Member::llama:
      return "llama";
    case Member::bert:
      return "bert";
    case Member::documents:
      return "documents";
  }
  return "?";
}

/// Sizes that 2, 4 and 8 divide, or with `uneven` that nothing divides.
ModelConfig model_of(Member member, bool uneven) {
  ModelConfig model = tiny_transformer(member == Member::llama  ? Preset::llama
                                       : member == Member::bert ? Preset::bert
                                                                : Preset::gpt);
  if (!uneven) return model;
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape.layers = 3;
  shape.hidden = 12;
  shape.heads = 6;
  shape.feed_forward = 5;
  shape.vocabulary = 11;
  shape.sequence = 5;
  if (member == Member::llama) shape.key_value_heads = 3;
  return model;
}

ModelOptions options_of(bool documents, double smoothing) {
  ModelOptions options;
  options.precision = Precision::fp64;
  options.clip_norm = 0.5;
  options.documents = documents;
  options.label_smoothing = smoothing;
  return options;
}

/// Llama has a sum loss, bert weights of single tokens, documents smoothed labels.
Case case_of_member(Member member, bool uneven) {
  const bool documents = member == Member::documents;
  Case made = case_of_model(model_of(member, uneven), OptimizerConfig{},
                            options_of(documents, documents ? 0.1 : 0.0));
  made.steps = uneven ? 4 : 10;
  made.sum_loss = member == Member::llama;
  return made;
}

void expect_truth(Member member, const Case& test, const Plan& plan) {
  static Truths<Member> truths;
  expect_equal(truths.of(member, case_of_member(member, false)), train(test, plan));
}

class TransformerLaw : public ::testing::TestWithParam<Member> {
 protected:
  [[nodiscard]] Case prepared(int run) const {
    Case test = case_of_member(GetParam(), false);
    if (run % 2 == 0) test.make_device = one_thread_cpu;
    if (run % 3 == 0) test.shuffle_seed = static_cast<std::uint64_t>(100 + run);
    return test;
  }
};

TEST_P(TransformerLaw, MethodsGiveTheNumbersOfOneRank) {
  int run = 0;
  for (const int ranks : {1, 2, 3, 4, 8}) {
    for (const Method method : {Method::data, Method::zero3, Method::megatron, Method::intra_only,
                                Method::inter_only, Method::pipedream, Method::heuristic}) {
      SCOPED_TRACE(name_of_method(method) + " on " + std::to_string(ranks));
      const Case test = prepared(run++);
      ParallelConfig parallel;
      if (method == Method::megatron) {
        parallel = ranks == 8 ? degrees(2, 2, 2) : degrees(1, ranks, 1);
      }
      expect_truth(GetParam(), test, plan_of(test, method, ranks, parallel));
    }
  }
  // More ranks than heads of keys and values.
  const Case test = prepared(run);
  expect_truth(GetParam(), test, plan_of(test, Method::megatron, 8, degrees(1, 8, 1)));
}

/// Every operator that may split time does so over axis 0, and heads, widths or classes over axis 1
/// if there is one; gradients stay partial sums until they are all there.
Plan sequence_parallel_plan(const Graph& graph, const DeviceMesh& mesh) {
  Plan plan = single_rank_plan(graph);
  plan.world_size = num_devices(mesh);
  StagePlan& stage = plan.stages[0];
  stage.mesh = mesh;
  stage.ranks.clear();
  for (int rank = 0; rank < plan.world_size; ++rank) stage.ranks.push_back(rank);
  for (const Operator& op : graph.operators) {
    std::vector<AxisUse> uses;
    const bool sums = std::holds_alternative<Accumulate>(op.kernel);
    const int t = op.rule.factor('t');
    if (sums) uses.push_back({.axis = 0, .linear = 0});
    if (!sums && t >= 0) uses.push_back({.axis = 0, .factor = 't'});
    for (const char letter : graph.parallel_letters) {
      if (mesh.extents.size() > 1 && !sums && op.rule.factor(letter) >= 0) {
        uses.push_back({.axis = 1, .factor = letter});
        break;
      }
    }
    while (!apply_strategy(op.rule, Strategy{uses}, mesh).layout) uses.pop_back();
    stage.strategies[op.name] = Strategy{uses};
  }
  return plan;
}

TEST_P(TransformerLaw, SplitSequencesGiveTheNumbersOfOneRank) {
  int run = 0;
  for (const DeviceMesh& mesh : {DeviceMesh{{2}}, DeviceMesh{{3}}, DeviceMesh{{4}},
                                 DeviceMesh{{2, 2}}, DeviceMesh{{4, 2}}}) {
    SCOPED_TRACE(num_devices(mesh));
    const Case test = prepared(run++);
    const Graph graph = test.make_graph(test.global_batch);
    const Plan plan = sequence_parallel_plan(graph, mesh);
    int attentions = 0;
    for (const Operator& op : graph.operators) {
      const bool attention = std::holds_alternative<Attention>(op.kernel);
      const Strategy& strategy = plan.stages[0].strategies.at(op.name);
      attentions += attention && to_string(strategy).find("t@0") != std::string::npos ? 1 : 0;
    }
    EXPECT_EQ(attentions, 8);
    expect_truth(GetParam(), test, plan);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TransformerLaw,
                         ::testing::Values(Member::llama, Member::bert, Member::documents),
                         [](const auto& each) { return name_of_member(each.param); });

TEST(RandomPlansLaw, Llama) {
  expect_law({case_of_member(Member::llama, true)}, num_plans(12), 11);
}

TEST(RandomPlansLaw, Bert) { expect_law({case_of_member(Member::bert, true)}, num_plans(12), 12); }

TEST(RandomPlansLaw, PackedDocuments) {
  expect_law({case_of_member(Member::documents, true)}, num_plans(12), 13);
}

// Documents and smoothing change the numbers: the law would not see them ignored.
TEST(TransformerOptions, ChangeTheNumbers) {
  const Case with = case_of_member(Member::documents, true);
  const auto first_loss = [](const Case& test) {
    return train(test, single_rank_plan(test.make_graph(test.global_batch))).losses.at(0);
  };
  const ModelConfig model = model_of(Member::documents, true);
  for (const bool documents : {false, true}) {
    Case without =
        case_of_model(model, OptimizerConfig{}, options_of(documents, documents ? 0.0 : 0.1));
    without.steps = with.steps;
    EXPECT_GT(std::abs(first_loss(without) - first_loss(with)), 1e-4);
  }
}

}  // namespace
}  // namespace alpa::law
