#include <map>

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
  ModelConfig model = preset_defaults(member == Member::llama  ? Preset::llama
                                      : member == Member::bert ? Preset::bert
                                                               : Preset::gpt);
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape.layers = uneven ? 3 : 8;
  shape.hidden = uneven ? 12 : 16;
  shape.heads = uneven ? 6 : 8;
  shape.feed_forward = uneven ? 5 : 16;
  shape.vocabulary = uneven ? 11 : 24;
  shape.sequence = uneven ? 5 : 4;
  shape.dropout = 0.1;
  shape.initializer.std = 0.25;
  shape.norm_epsilon = 1e-5;
  if (member == Member::llama) {
    shape.key_value_heads = uneven ? 3 : 4;
    shape.rotary_base = 10.0;
  }
  return model;
}

/// Llama has a sum loss, bert weights of single tokens, documents smoothed labels.
Case case_of_member(Member member, bool uneven) {
  const ModelConfig model = model_of(member, uneven);
  const std::int64_t vocabulary = std::get<TransformerConfig>(model.shape).vocabulary;
  Case made;
  made.learning_rate = 0.01;
  made.steps = uneven ? 4 : 10;
  made.vocabulary = {{"tokens", vocabulary}, {"labels", vocabulary}, {"documents", 2}};
  made.sum_loss = member == Member::llama;
  made.masks_elements = member == Member::bert;
  made.make_graph = [member, model](std::int64_t microbatch) {
    ModelOptions options;
    options.precision = Precision::fp64;
    options.clip_norm = 0.5;
    options.microbatch = microbatch;
    options.documents = member == Member::documents;
    options.label_smoothing = member == Member::documents ? 0.1 : 0.0;
    return build_graph(model, OptimizerConfig{}, options);
  };
  return made;
}

const Outcome& truth_of(Member member) {
  static std::map<Member, Outcome> known;
  auto it = known.find(member);
  if (it == known.end()) {
    const Case test = case_of_member(member, false);
    it = known.emplace(member, train(test, single_rank_plan(test.make_graph(test.global_batch))))
             .first;
  }
  return it->second;
}

void expect_truth(Member member, const Case& test, const Plan& plan) {
  const Outcome& truth = truth_of(member);
  const Outcome found = train(test, plan);
  const Difference d = compare(truth, found);
  EXPECT_TRUE(d.initial_equal);
  EXPECT_LT(d.losses, 1e-9);
  EXPECT_LT(d.norms, 1e-9);
  EXPECT_LT(d.evaluation, 1e-9);
  EXPECT_LT(d.state, 1e-9) << d.worst_tensor;
  EXPECT_NE(found.final_state, found.initial);
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
  Case without = with;
  const ModelConfig model = model_of(Member::documents, true);
  for (const bool documents : {false, true}) {
    without.make_graph = [&](std::int64_t microbatch) {
      ModelOptions options;
      options.precision = Precision::fp64;
      options.clip_norm = 0.5;
      options.microbatch = microbatch;
      options.documents = documents;
      options.label_smoothing = documents ? 0.0 : 0.1;
      return build_graph(model, OptimizerConfig{}, options);
    };
    EXPECT_GT(std::abs(first_loss(without) - first_loss(with)), 1e-4);
  }
}

}  // namespace
}  // namespace alpa::law
