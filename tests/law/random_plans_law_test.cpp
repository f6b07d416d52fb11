#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include <gtest/gtest.h>

#include "alpa/graph/builder.hpp"
#include "alpa/graph/derivative.hpp"
#include "alpa/graph/training.hpp"

#include "law/coverage.hpp"
#include "law/free_models.hpp"
#include "law/models.hpp"
#include "law/random_law.hpp"

/// The law of the project under random plans: strategies, storage, accumulation, retention, arrival
/// layouts, cuts, meshes, microbatches, schedules, idle ranks; on all devices, queues in any order.
namespace alpa::law {
namespace {

/// Sizes that nothing divides evenly.
ModelConfig uneven_gpt() {
  ModelConfig model = preset_defaults(Preset::gpt);
  TransformerConfig shape;
  shape.layers = 8;
  shape.hidden = 6;
  shape.heads = 3;
  shape.feed_forward = 10;
  shape.vocabulary = 11;
  shape.sequence = 5;
  shape.dropout = 0.1;
  shape.initializer.std = 0.25;
  model.shape = shape;
  return model;
}

/// RMS norm after the sum, swiglu, no bias, own head: the other branches of a transformer.
ModelConfig other_transformer() {
  ModelConfig model = uneven_gpt();
  auto& shape = std::get<TransformerConfig>(model.shape);
  shape.layers = 3;
  shape.norm = Norm::rms;
  shape.norm_position = NormPosition::post;
  shape.activation = Activation::swiglu;
  shape.bias = false;
  shape.tied_embedding = false;
  return model;
}

ModelConfig uneven_mlp(Loss loss) {
  ModelConfig model = preset_defaults(Preset::mlp);
  model.shape = MlpConfig{
      .layers = 7,
      .hidden = 7,
      .features = 5,
      .classes = 6,
      .activation = loss == Loss::cross_entropy ? Activation::gelu_tanh : Activation::relu,
      .dropout = 0.1,
      .loss = loss,
      .initializer = {}};
  return model;
}

/// Ten steps, not twenty: dropped samples, clipping and optimizer states have all had their turn.
Case short_case(const ModelConfig& model, OptimizerKind kind) {
  Case made = case_of_model(model, kind);
  made.steps = 10;
  return made;
}

std::vector<Case> with_optimizers(const ModelConfig& model) {
  return {short_case(model, OptimizerKind::momentum), short_case(model, OptimizerKind::adamw)};
}

TEST(RandomPlansLaw, Gpt) { expect_law(with_optimizers(uneven_gpt()), num_plans(40), 1); }

TEST(RandomPlansLaw, OtherTransformer) {
  expect_law({short_case(other_transformer(), OptimizerKind::adam)}, num_plans(24), 2);
}

TEST(RandomPlansLaw, MlpWithCrossEntropy) {
  expect_law(with_optimizers(uneven_mlp(Loss::cross_entropy)), num_plans(40), 3);
}

TEST(RandomPlansLaw, MlpWithSquaredError) {
  expect_law({short_case(uneven_mlp(Loss::squared_error), OptimizerKind::sgd)}, num_plans(24), 4);
}

// Statistics of whole tensors stand between the operators of these.
TEST(RandomPlansLaw, OptimizersOfSeveralOperators) {
  ModelConfig gpt = uneven_gpt();
  drop_biases(gpt);
  expect_law(
      {short_case(uneven_gpt(), OptimizerKind::lamb), short_case(gpt, OptimizerKind::adafactor)},
      num_plans(40), 6, false);
  expect_law({short_case(uneven_mlp(Loss::cross_entropy), OptimizerKind::lamb),
              short_case(uneven_mlp(Loss::cross_entropy), OptimizerKind::adafactor)},
             num_plans(40), 7, false);
}

Case case_of_free_model(const FreeModel& model, OptimizerKind kind) {
  Case made;
  made.learning_rate = 0.01;
  made.vocabulary = {{"tokens", 5}, {"mask", 5}, {"kinds", 5}, {"labels", 5}};
  made.make_graph = [model, kind](std::int64_t microbatch) {
    OptimizerConfig optimizer;
    optimizer.name = kind;
    optimizer.relative_step = true;
    return free_graph(model, optimizer,
                      {.precision = Precision::fp64, .clip_norm = 0.5, .microbatch = microbatch});
  };
  return made;
}

class FreeModels : public testing::TestWithParam<FreeModel> {};

TEST_P(FreeModels, HoldsUnderRandomPlans) {
  expect_law({case_of_free_model(GetParam(), OptimizerKind::adamw),
              case_of_free_model(GetParam(), OptimizerKind::adafactor)},
             num_plans(30), 8, false);
}

INSTANTIATE_TEST_SUITE_P(All, FreeModels, testing::ValuesIn(free_models()),
                         [](const auto& each) { return each.param.name; });

/// The first YAML block of docs/free-models.md.
std::string documented_model() {
  std::ifstream file(ALPA_SOURCE_DIR "/docs/free-models.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  const auto begin = all.find("```yaml\n") + 8;
  return all.substr(begin, all.find("```", begin) - begin);
}

TEST(FreeModelsLaw, HoldsForTheDocumentedModel) {
  const RunConfig config = parse_run_config(documented_model(), "free.yaml");
  Case test;
  test.steps = static_cast<int>(config.training.steps);
  test.learning_rate = config.optimizer.learning_rate;
  test.vocabulary = {{"tokens", 50}, {"kinds", 5}};
  test.make_graph = [config](std::int64_t microbatch) {
    RunConfig precise = config;
    precise.training.precision = Precision::fp64;
    return build_graph(precise, microbatch);
  };
  const Outcome truth = train(test, single_rank_plan(test.make_graph(test.global_batch)));
  for (const Method method : {Method::data, Method::zero3, Method::inter_only}) {
    SCOPED_TRACE(name_of_method(method));
    expect_equal(truth, train(test, plan_of(test, method, 4)));
  }
}

// An operator that no module knows.

/// y[b,e,g] = x[b,e]^2 for every value of a new index g, on the kernel of an elementwise product:
/// it has its own shape (g stands in no operand), its own rule (g whole, no partial sums) and its
/// own derivative, dx = 2 x * sum over g of dy.
TensorId spread_square(GraphBuilder& builder, const std::string& name, TensorId x,
                       std::int64_t copies) {
  const Shape in = builder.tensor(x).shape;
  const Shape out{in[0], in[1], copies};
  const Map kernel{MapOp::multiply, {"be", "be"}, "beg"};
  ShardingRule rule = rule_of(kernel, {in, in}, {out});
  rule.linear.clear();
  rule.factors.at(static_cast<std::size_t>(rule.factor('g'))).whole = true;
  const Derivative derivative = [](Backward& backward) {
    const TensorId total =
        backward.add("total", Reduce{.operand = "beg", .result = "be"}, {backward.gradient(0)});
    const TensorId product = backward.add("product", Map{MapOp::multiply, {"be", "be"}, "be"},
                                          {backward.operand(0), total});
    const TensorId twice = backward.add("twice", Map{MapOp::scale, {"be"}, "be", 2.0}, {product});
    if (backward.wanted(0)) backward.give(0, twice);
  };
  return builder.add(name, kernel, {x, x},
                     {.shapes = {out}, .dims = {"beg"}, .rule = rule, .derivative = derivative});
}

Graph made_up_model(std::int64_t b) {
  GraphBuilder builder(3, b, DType::f64);
  const auto weight = [&](const std::string& name, const Dims& dims, const Shape& shape) {
    return builder.parameter(name, dims, shape, {Initializer::Kind::normal, 0.0, 0.4});
  };
  builder.at(0);
  const TensorId x = builder.input("features", "bi", {b, 5}, DType::f64);
  const TensorId weights = builder.input("weights", "b", {b}, DType::f64);
  TensorId y = builder.add("in", Einsum{"bi", "ie", "be"}, {x, weight("in.weight", "ie", {5, 7})});
  builder.at(1);
  y = spread_square(builder, "made_up", y, 3);
  builder.at(2);
  y = builder.add("out", Einsum{"beg", "egc", "bc"}, {y, weight("out.weight", "egc", {7, 3, 4})});
  const TensorId targets = builder.input("targets", "bc", {b, 4}, DType::f64);
  const TensorId inverse = builder.scalar(scalar_name::kInverseWeight, Role::step_scalar);
  const TensorId errors =
      builder.add("errors", Map{MapOp::squared_error, {"bc", "bc", "b", ""}, "bc", 0.5},
                  {y, targets, weights, inverse});
  OptimizerSpec spec;
  spec.kind = OptimizerKind::adamw;
  spec.clip_norm = 0.5;
  add_training(builder, {add_loss(builder, "loss", errors)}, spec);
  return builder.build();
}

TEST(RandomPlansLaw, AnOperatorThatExistsInThisTestOnly) {
  Case test;
  test.learning_rate = 0.01;
  test.make_graph = made_up_model;
  const Graph graph = made_up_model(8);
  bool found = false;
  for (const Operator& op : graph.operators) {
    if (op.name != "made_up") continue;
    found = true;
    EXPECT_TRUE(op.rule.linear.empty());
    EXPECT_EQ(all_strategies(op.rule, {{2}}).size(), 3U);  // replicated, b, e
  }
  EXPECT_TRUE(found);
  expect_law({test}, std::max(50, num_plans(50)), 5);
}

}  // namespace
}  // namespace alpa::law
