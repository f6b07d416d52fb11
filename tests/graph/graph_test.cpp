#include "alpa/graph/graph.hpp"

#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/graph/builder.hpp"
#include "alpa/graph/glob.hpp"
#include "alpa/graph/text.hpp"
#include "alpa/graph/training.hpp"

namespace alpa {
namespace {

/// Two layers: y = tanh(x w) v, squared error; w belongs to layer 0, v to layer 1.
Graph two_layers(OptimizerSpec optimizer = {}, bool tied = false) {
  GraphBuilder builder(2, 4, DType::f32);
  const TensorId x = builder.input("x", "be", {4, 3}, DType::f32);
  const TensorId w = builder.parameter("w", "ef", {3, 3}, {});
  const TensorId h = builder.add("h", Einsum{"be", "ef", "bf"}, {x, w});
  const TensorId t = builder.add("t", Map{MapOp::tanh, {"bf"}, "bf"}, {h});
  builder.at(1);
  const TensorId v = tied ? w : builder.parameter("v", "fe", {3, 3}, {});
  const TensorId y = builder.add("y", Einsum{"bf", "fe", "be"}, {t, v});
  const TensorId target = builder.input("targets", "be", {4, 3}, DType::f32);
  const TensorId weight = builder.input("weights", "b", {4}, DType::f32);
  const Map error{MapOp::squared_error, {"be", "be", "b", ""}, "be"};
  const TensorId values = builder.add(
      "error", error,
      {y, target, weight, builder.scalar(scalar_name::kInverseWeight, Role::step_scalar)});
  add_training(builder, {add_loss(builder, "loss", values)}, optimizer);
  return builder.build();
}

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

Operator& operator_named(Graph& graph, const std::string& name) {
  for (Operator& op : graph.operators) {
    if (op.name == name) return op;
  }
  throw UserError("no operator " + name);
}

Tensor& tensor_named(Graph& graph, const std::string& name) {
  return graph.tensors.at(graph.find_tensor(name).value().index());
}

TEST(Graph, CountsParametersAndFlops) {
  const Graph graph = two_layers();
  EXPECT_EQ(num_parameters(graph), 18);
  // Forward two products; backward both of the second, but only the weight's of the first.
  EXPECT_DOUBLE_EQ(flops_per_microbatch(graph).value, 5 * 2.0 * 4 * 3 * 3);
}

TEST(Graph, StandsInTheOrderOfPhases) {
  const Graph graph = two_layers({}, true);
  Phase last = Phase::prepare;
  EXPECT_EQ(graph.operators.front().phase, Phase::prepare);
  for (const Operator& op : graph.operators) {
    EXPECT_LE(last, op.phase) << op.name;
    last = op.phase;
  }
  EXPECT_EQ(last, Phase::update);
}

TEST(Graph, HasEqualFingerprintsExactlyIfEqual) {
  EXPECT_EQ(fingerprint(two_layers()), fingerprint(two_layers()));
  EXPECT_NE(fingerprint(two_layers()), fingerprint(two_layers({.no_decay = {}, .clip_norm = 1.0})));
  EXPECT_NE(fingerprint(two_layers()), fingerprint(two_layers({}, true)));
  Graph other = two_layers();
  operator_named(other, "t").kernel = Map{MapOp::gelu, {"bf"}, "bf"};
  EXPECT_NE(fingerprint(two_layers()), fingerprint(other));
}

TEST(Training, GivesEachOptimizerItsStates) {
  const auto states = [](OptimizerKind kind) {
    return tensors_with(two_layers({.kind = kind, .no_decay = {}}), Role::optimizer_state).size();
  };
  EXPECT_EQ(states(OptimizerKind::sgd), 0u);
  EXPECT_EQ(states(OptimizerKind::momentum), 2u);
  EXPECT_EQ(states(OptimizerKind::adam), 4u);
  EXPECT_EQ(states(OptimizerKind::adamw), 4u);
  EXPECT_TRUE(two_layers().find_tensor("w.adam_m"));
  EXPECT_TRUE(
      two_layers({.kind = OptimizerKind::momentum, .no_decay = {}}).find_tensor("v.velocity"));
}

TEST(Training, CountsATiedParameterOnceInTheNorm) {
  Graph graph = two_layers({}, true);
  EXPECT_EQ(num_parameters(graph), 9);
  EXPECT_EQ(tensors_with(graph, Role::accumulator).size(), 2u);
  EXPECT_EQ(tensor_named(graph, "w@1").role, Role::replica);
  EXPECT_EQ(tensor_named(graph, "w@1.accumulator").layer, 1);
  EXPECT_EQ(operator_named(graph, "w@1").phase, Phase::prepare);
  EXPECT_EQ(operator_named(graph, "w@1").layer, 1);
  EXPECT_EQ(operator_named(graph, "w.gradient_sum").layer, 0);
  EXPECT_EQ(operator_named(graph, "w.gradient_sum").phase, Phase::reduce);
  std::size_t contributions = 0;
  for (const Operator& op : graph.operators) {
    const bool contributes = std::holds_alternative<Contribute>(op.kernel);
    contributions += contributes && op.phase == Phase::reduce ? 1 : 0;
  }
  EXPECT_EQ(contributions, 1u);
}

TEST(Training, DecaysWhatNoGlobExcludes) {
  Graph graph = two_layers({.weight_decay = 0.1, .no_decay = {"v*"}});
  EXPECT_EQ(std::get<Update>(operator_named(graph, "w.update").kernel).weight_decay, 0.1);
  EXPECT_EQ(std::get<Update>(operator_named(graph, "v.update").kernel).weight_decay, 0.0);
}

TEST(Builder, ClearsLinearityOfANarrowingCopy) {
  GraphBuilder builder(1, 4, DType::f32);
  const TensorId x = builder.input("x", "b", {4}, DType::f32);
  builder.add("narrow", Map{MapOp::copy, {"b"}, "b"}, {x}, {.dtype = DType::bf16});
  builder.add("wide", Map{MapOp::copy, {"b"}, "b"}, {x}, {.dtype = DType::f64});
  EXPECT_TRUE(builder.graph().operators.at(0).rule.linear.empty());
  EXPECT_EQ(builder.graph().operators.at(1).rule.linear.size(), 1u);
}

TEST(Builder, RefusesTakenNamesAndUnknownExtents) {
  GraphBuilder builder(1, 4, DType::f32);
  const TensorId x = builder.input("x", "b", {4}, DType::f32);
  const Map copy{MapOp::copy, {"b"}, "b"};
  EXPECT_NE(message_of([&] { builder.input("x", "b", {4}, DType::f32); }).find("taken"),
            std::string::npos);
  EXPECT_NE(message_of([&] { builder.input("z", "be", {4}, DType::f32); }).find("differ in number"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              builder.add("y", Map{MapOp::copy, {"b"}, "be"}, {x});
            }).find("letter 'e' follows from no operand"),
            std::string::npos);
  builder.add("y", copy, {x}, {.names = {"other"}});
  EXPECT_NE(message_of([&] { builder.add("y", copy, {x}, {.names = {"more"}}); }).find("taken"),
            std::string::npos);
}

struct Mutation {
  std::string expected;
  std::function<void(Graph&)> change;
};

TEST(Validate, NamesWhatIsWrong) {
  const std::vector<Mutation> mutations = {
      {"the name is empty or taken", [](Graph& g) { tensor_named(g, "w").name = "v"; }},
      {"operator v.update (update.adamw): the name is empty or taken",
       [](Graph& g) { operator_named(g, "w.update").name = "v.update"; }},
      {"tensor w [3,3]: dims", [](Graph& g) { tensor_named(g, "w").dims = "e"; }},
      {"every extent must be at least 1", [](Graph& g) { tensor_named(g, "x").shape = {4, 0}; }},
      {"layer 2 of 2", [](Graph& g) { tensor_named(g, "t").layer = 2; }},
      {"layer -1 of 2", [](Graph& g) { operator_named(g, "t").layer = -1; }},
      {"letter 'f' is both", [](Graph& g) { tensor_named(g, "t").shape = {4, 5}; }},
      {"names tensor 1000", [](Graph& g) { operator_named(g, "t").operands = {{1000}}; }},
      {"before it is made",
       [](Graph& g) { operator_named(g, "h").operands.at(0) = *g.find_tensor("y"); }},
      {"reads tensor h before it is made",
       [](Graph& g) { std::swap(operator_named(g, "h"), operator_named(g, "t")); }},
      {"later phase", [](Graph& g) { operator_named(g, "h").phase = Phase::update; }},
      {"a second time", [](Graph& g) { operator_named(g, "t").results = {*g.find_tensor("h")}; }},
      {"which is given", [](Graph& g) { operator_named(g, "h").results = {*g.find_tensor("x")}; }},
      {"it needs a replica", [](Graph& g) { tensor_named(g, "v").layer = 0; }},
      {"of the later layer",
       [](Graph& g) {
         tensor_named(g, "t").layer = 1;
         operator_named(g, "t").layer = 0;
         operator_named(g, "t").operands = {*g.find_tensor("x")};
         operator_named(g, "y").layer = 0;
         tensor_named(g, "v").layer = 0;
       }},
      {"of the earlier layer", [](Graph& g) { tensor_named(g, "y.gradient").layer = 0; }},
      {"its rule says", [](Graph& g) { operator_named(g, "h").rule.factors.at(0).size = 9; }},
      {"its rule is for 1 tensors",
       [](Graph& g) { operator_named(g, "h").rule.operands.pop_back(); }},
      {"needs a reduction per result",
       [](Graph& g) { operator_named(g, "h").rule.reduction.clear(); }},
      {"linear in operand 2", [](Graph& g) { operator_named(g, "h").rule.linear = {{0}, {2}}; }},
      {"is f32, another is bf16", [](Graph& g) { tensor_named(g, "x").dtype = DType::bf16; }},
      {"is i32, expected floating point",
       [](Graph& g) { tensor_named(g, "x").dtype = DType::i32; }},
      {"result error must be f64", [](Graph& g) { tensor_named(g, "error").dtype = DType::f32; }},
      {"outside of phase update", [](Graph& g) { tensor_named(g, "t").role = Role::parameter; }},
  };
  for (const Mutation& mutation : mutations) {
    Graph graph = two_layers();
    ASSERT_NO_THROW(validate(graph));
    mutation.change(graph);
    const std::string message = message_of([&] { validate(graph); });
    EXPECT_NE(message.find(mutation.expected), std::string::npos)
        << "expected: " << mutation.expected << "\n  found: " << message;
  }
}

TEST(Glob, MatchesNamesAndThePathsAboveThem) {
  EXPECT_TRUE(glob_matches("*.bias", "layers.3.norm1.bias"));
  EXPECT_TRUE(glob_matches("*norm*", "layers.3.norm1.weight"));
  EXPECT_TRUE(glob_matches("positions", "positions.weight"));
  EXPECT_TRUE(glob_matches("layers.?", "layers.3.norm1.weight"));
  EXPECT_TRUE(glob_matches("*", "anything"));
  EXPECT_TRUE(glob_matches("", ""));
  EXPECT_FALSE(glob_matches("position", "positions.weight"));
  EXPECT_FALSE(glob_matches("*.bias", "bias"));
  EXPECT_FALSE(glob_matches("weight", "positions.weight"));
  EXPECT_FALSE(glob_matches("a*b*c", "a.b"));
  const std::string stars(60, '*');
  EXPECT_FALSE(glob_matches(stars + "x", std::string(5000, 'a')));
}

TEST(Text, SaysEverythingOfAGraph) {
  const std::string text = to_text(two_layers());
  EXPECT_NE(text.find("w: parameter f32[3,3] ef layer=0 constant=0\n"), std::string::npos);
  EXPECT_NE(text.find("h: einsum be,ef->bf scale=1 (x, w) -> (h) layer=0 forward [be,ef->bf b=4 "
                      "f=3 e=3 linear:0 linear:1 reduction=1]\n"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace alpa
