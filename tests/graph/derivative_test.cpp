#include "alpa/graph/derivative.hpp"

#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/graph/training.hpp"

#include "graph/finite_differences.hpp"

namespace alpa {
namespace {

using testing::Case;
using testing::expect_gradients_of_differences;
using testing::kBatch;

using Build = std::function<void(Case&)>;
struct NamedCase {
  std::string name;
  Build build;
  int layers = 1;
};

NamedCase map_case(const std::string& name, MapOp op, std::vector<Dims> operands,
                   const Dims& result, double constant = 1.0) {
  return {name, [=](Case& c) {
            std::vector<TensorId> ids;
            for (std::size_t i = 0; i < operands.size(); ++i) {
              Shape shape;
              for (const char letter : operands[i]) shape.push_back(letter == 'b' ? kBatch : 3);
              ids.push_back(c.parameter("p" + std::to_string(i), operands[i], shape));
            }
            c.end_with(c.builder.add("y", Map{op, operands, result, constant}, ids));
          }};
}

NamedCase einsum_case(const Einsum& kernel) {
  const auto shape_of = [](const Dims& dims) {
    Shape shape;
    for (const char letter : dims) shape.push_back(2 + (letter - 'a') % 3);
    return shape;
  };
  return {"einsum " + kernel.left + "," + kernel.right + "->" + kernel.result, [=](Case& c) {
            const TensorId left = c.parameter("left", kernel.left, shape_of(kernel.left));
            const TensorId right = c.parameter("right", kernel.right, shape_of(kernel.right));
            c.end_with(c.builder.add("y", kernel, {left, right}));
          }};
}

NamedCase norm_case(const std::string& name, const NormAttributes& norm, bool bias) {
  return {name, [=](Case& c) {
            const TensorId x = c.parameter("x", norm.operand, {kBatch, 3, 4});
            const std::int64_t n = norm.operand.ends_with(norm.over) ? 4 : 3;
            const Dims& letter = norm.parameters;
            const auto moments = c.builder.add_all("m", NormMoments{norm.operand, norm.over}, {x});
            std::vector<TensorId> operands{x, moments[0], moments[1],
                                           c.parameter("scale", letter, {n})};
            if (bias) operands.push_back(c.parameter("bias", letter, {n}));
            c.end_with(c.builder.add("y", NormApply{norm, bias}, operands));
          }};
}

NamedCase attention_case(const std::string& name, const Attention& kernel) {
  return {name, [=](Case& c) {
            const TensorId q = kernel.grouped ? c.parameter("q", "bthrd", {kBatch, 4, 2, 3, 3})
                                              : c.parameter("q", "bthd", {kBatch, 4, 2, 3});
            const TensorId k = c.parameter("k", "bshd", {kBatch, 4, 2, 3});
            const TensorId v = c.parameter("v", "bshd", {kBatch, 4, 2, 3});
            std::vector<TensorId> operands = {q, k, v, c.scalar(scalar_name::kDropoutStep),
                                              c.scalar(scalar_name::kTraining)};
            if (kernel.documents) {
              const TensorId documents = c.ids("documents", "bt", {kBatch, 4}, 2);
              operands.insert(operands.end(), {documents, documents});
            }
            c.end_with(c.builder.add("y", kernel, operands));
          }};
}

NamedCase rotary_case(const std::string& name, const Rotary& kernel, const Shape& shape) {
  return {name, [=](Case& c) {
            const TensorId x = c.parameter("x", kernel.operand, shape);
            c.end_with(c.builder.add("y", kernel, {x}));
          }};
}

struct Statistics {
  TensorId maximum, sum;
};
Statistics statistics(Case& c, TensorId x) {
  const TensorId maximum =
      c.builder.add("maximum", Reduce{.op = ReduceOp::max, .operand = "btv", .result = "bt"}, {x});
  return {maximum, c.builder.add("sum_exp", SumExp{"btv", "bt"}, {x, maximum})};
}

TensorId cross_entropy_values(Case& c, TensorId x, double smoothing = 0.0) {
  const auto [maximum, sum] = statistics(c, x);
  const TensorId labels = c.ids("labels", "bt", {kBatch, 3}, 5);
  const TensorId weights = c.builder.input("weights", "bt", {kBatch, 3}, DType::f64);
  const TensorId picked = c.builder.add("picked", Pick{"btv", "bt", 'v', smoothing}, {x, labels});
  const Map kernel{MapOp::cross_entropy, {"bt", "bt", "bt", "bt", ""}, "bt"};
  return c.builder.add("values", kernel,
                       {maximum, sum, picked, weights, c.scalar(scalar_name::kInverseWeight)});
}

void build_softmax(Case& c) {
  const TensorId x = c.parameter("x", "btv", {kBatch, 3, 5});
  const auto [maximum, sum] = statistics(c, x);
  c.end_with(
      c.builder.add("y", Map{MapOp::softmax, {"btv", "bt", "bt"}, "btv"}, {x, maximum, sum}));
}

void build_squared_error_of_two_parameters(Case& c) {
  const TensorId y = c.parameter("y", "b", {kBatch});
  const TensorId target = c.parameter("t", "bf", {kBatch, 3});
  const TensorId weight = c.builder.input("weight", "b", {kBatch}, DType::f64);
  const Map kernel{MapOp::squared_error, {"b", "bf", "b", ""}, "bf", 0.7};
  const TensorId values =
      c.builder.add("e", kernel, {y, target, weight, c.scalar(scalar_name::kInverseWeight)});
  const TensorId squares =
      c.builder.add("s", Map{MapOp::multiply, {"bf", "bf"}, "bf"}, {values, values});
  c.end_with_values(squares);
}

void build_cross_entropy_with_weighed_values(Case& c) {
  const TensorId x = c.parameter("x", "btv", {kBatch, 3, 5});
  const TensorId values = cross_entropy_values(c, x);
  const TensorId factor = c.parameter("factor", "t", {3});
  c.end_with(c.builder.add("weighed", Map{MapOp::multiply, {"bt", "t"}, "bt"}, {values, factor}));
}

void build_embedding(Case& c) {
  const TensorId table = c.parameter("table", "ve", {5, 3});
  const TensorId ids = c.ids("ids", "bt", {kBatch, 4}, 5);
  c.end_with(c.builder.add("y", Embedding{"ve", "bt", "bte"}, {table, ids}));
}

void build_dropout(Case& c) {
  const TensorId x = c.parameter("x", "be", {kBatch, 9});
  c.end_with(
      c.builder.add("y", Dropout{"be", {0.4, 99}},
                    {x, c.scalar(scalar_name::kDropoutStep), c.scalar(scalar_name::kTraining)}));
}

void build_select_of_one_index(Case& c) {
  const TensorId x = c.parameter("x", "bke", {kBatch, 3, 2});
  c.end_with(c.builder.add("y", Select{"bke", 'k', 1}, {x}));
}

void build_select_twice_and_whole(Case& c) {
  const TensorId x = c.parameter("x", "bke", {kBatch, 3, 2});
  const TensorId first = c.builder.add("first", Select{"bke", 'k', 2}, {x});
  const TensorId second = c.builder.add("second", Select{"bke", 'k', 2}, {x});
  const Map product{MapOp::multiply, {"be", "be"}, "be"};
  c.end_with(c.builder.add("y", product, {first, second}));
  c.end_with(c.builder.add("z", Map{MapOp::tanh, {"bke"}, "bke"}, {x}));
}

void build_stack(Case& c) {
  const TensorId a = c.parameter("a", "be", {kBatch, 3});
  const TensorId b = c.parameter("b", "be", {kBatch, 3});
  c.end_with(c.builder.add("y", Stack{"bke", 'k'}, {a, b, a}));
}

/// An operand that stands twice, and one beside a constant.
void build_concatenate(Case& c) {
  const TensorId a = c.parameter("a", "bfe", {kBatch, 2, 3});
  const TensorId b = c.parameter("b", "bfe", {kBatch, 1, 3});
  const TensorId x = c.builder.input("x", "bfe", {kBatch, 4, 3}, DType::f64);
  c.end_with(
      c.builder.add("y", Concatenate{"bfe", 'f'}, {a, x, b, a}, {.shapes = {{kBatch, 9, 3}}}));
}

void build_upsample(Case& c) {
  const TensorId x = c.parameter("x", "byxc", {kBatch, 2, 3, 2});
  c.end_with(c.builder.add("y", Upsample{2}, {x}, {.shapes = {{kBatch, 4, 6, 2}}}));
}

/// x + tanh(x w), then a product with x: x is used three times, once through an addition.
void build_fan_out(Case& c) {
  const TensorId x = c.parameter("x", "be", {kBatch, 3});
  const TensorId w = c.parameter("w", "ef", {3, 3});
  const TensorId xw = c.builder.add("xw", Einsum{"be", "ef", "bf"}, {x, w});
  const TensorId t = c.builder.add("t", Map{MapOp::tanh, {"be"}, "be"}, {xw});
  const TensorId sum = c.builder.add("sum", Map{MapOp::add, {"be", "be"}, "be"}, {x, t});
  c.end_with(c.builder.add("y", Map{MapOp::multiply, {"be", "be"}, "be"}, {sum, x}));
}

/// A matrix of layer 0 used again, transposed, in layers 1 (twice) and 2.
void build_tied(Case& c) {
  GraphBuilder& builder = c.builder;
  const TensorId w = c.parameter("w", "ef", {3, 4});
  const TensorId x = c.parameter("x", "be", {kBatch, 3});
  TensorId y = builder.add("y0", Einsum{"be", "ef", "bf"}, {x, w});
  builder.at(1);
  y = builder.add("y1", Einsum{"bf", "ef", "be"}, {y, w});
  y = builder.add("y2", Einsum{"be", "ef", "bf"}, {y, w});
  builder.at(2);
  c.end_with(builder.add("y3", Einsum{"bf", "ef", "be"}, {y, w}));
}

/// A tensor of layer 0 that is used there, twice in layer 1, and in layer 2.
void build_skips_over_layers(Case& c) {
  GraphBuilder& builder = c.builder;
  const Map product{MapOp::multiply, {"be", "be"}, "be"};
  const TensorId w = c.parameter("w", "be", {kBatch, 3});
  const TensorId x = builder.add("x", Map{MapOp::tanh, {"be"}, "be"}, {w});
  TensorId y = builder.add("y0", Map{MapOp::gelu, {"be"}, "be"}, {x});
  builder.at(1);
  y = builder.add("y1", product, {y, x});
  y = builder.add("y2", product, {y, x});
  builder.at(2);
  c.end_with(builder.add("y3", product, {y, x}));
}

/// Tokens sent to experts, which square them, and back: with choices that no small change flips.
void build_mixture(Case& c, std::int64_t top_k) {
  GraphBuilder& builder = c.builder;
  const TensorId x = c.parameter("x", "bse", {kBatch, 5, 3});
  const TensorId logits = c.parameter("logits", "btv", {kBatch, 5, 4});
  const auto [maximum, sum] = statistics(c, logits);
  const TensorId p =
      builder.add("p", Map{MapOp::softmax, {"btv", "bt", "bt"}, "btv"}, {logits, maximum, sum});
  const auto routed = builder.add_all("route", Route{{top_k, 2}}, {p});
  const TensorId slots =
      builder.add("slots", Dispatch{}, {x, routed[0], routed[1]}, {.shapes = {{4, kBatch, 2, 3}}});
  const TensorId y = builder.add("y", Map{MapOp::tanh, {"xbce"}, "xbce"}, {slots});
  c.end_with(builder.add("mixed", Combine{true}, {y, routed[0], routed[1], routed[2]}));
  c.end_with(builder.add("plain", Combine{}, {y, routed[0], routed[1]}));
}

void build_view(Case& c) {
  const TensorId x = c.parameter("x", "bte", {kBatch, 6, 3});
  const TensorId y = c.builder.add("y", View{"bte", "bse"}, {x}, {.shapes = {{6, kBatch, 3}}});
  c.end_with(c.builder.add("z", Map{MapOp::tanh, {"bse"}, "bse"}, {y}));
}

std::vector<NamedCase> all_cases() {
  return {
      map_case("copy", MapOp::copy, {"bt"}, "bt"),
      map_case("copy that transposes", MapOp::copy, {"bt"}, "tb"),
      map_case("add", MapOp::add, {"bte", "bte", "te"}, "bte"),
      map_case("add of a bias", MapOp::add, {"bte", "e"}, "bte"),
      map_case("subtract", MapOp::subtract, {"bt", "t"}, "bt"),
      map_case("multiply", MapOp::multiply, {"bt", "t"}, "bt"),
      map_case("multiply of columns and rows", MapOp::multiply, {"b", "t"}, "bt"),
      map_case("scale", MapOp::scale, {"bt"}, "bt", -2.5),
      map_case("relu", MapOp::relu, {"bte"}, "bte"),
      map_case("gelu", MapOp::gelu, {"bte"}, "bte"),
      map_case("gelu_tanh", MapOp::gelu_tanh, {"bte"}, "bte"),
      map_case("silu", MapOp::silu, {"bte"}, "bte"),
      map_case("tanh", MapOp::tanh, {"bte"}, "bte"),
      {"softmax", build_softmax},
      {"cross_entropy",
       [](Case& c) {
         c.end_with_values(cross_entropy_values(c, c.parameter("x", "btv", {kBatch, 3, 5})));
       }},
      {"cross_entropy with label smoothing",
       [](Case& c) {
         c.end_with_values(cross_entropy_values(c, c.parameter("x", "btv", {kBatch, 3, 5}), 0.2));
       }},
      {"cross_entropy, values used again", build_cross_entropy_with_weighed_values},
      {"squared_error", build_squared_error_of_two_parameters},
      einsum_case({"bte", "ef", "btf"}),
      einsum_case({"bte", "ekhd", "btkhd", 0.5}),
      einsum_case({"bhtd", "bhsd", "bhts"}),
      einsum_case({"bthd", "hde", "bte"}),
      einsum_case({"be", "e", "b"}),
      {"reduce.sum",
       [](Case& c) {
         const TensorId x = c.parameter("x", "bte", {kBatch, 3, 4});
         c.end_with(c.builder.add("y", Reduce{.operand = "bte", .result = "t"}, {x}));
       }},
      {"reduce of squares",
       [](Case& c) {
         const TensorId x = c.parameter("x", "bte", {kBatch, 3, 4});
         c.end_with(
             c.builder.add("y", Reduce{.square = true, .operand = "bte", .result = "be"}, {x}));
       }},
      {"embedding", build_embedding},
      norm_case("layer norm", {"bte"}, true),
      norm_case("layer norm without bias", {.operand = "bte", .epsilon = 1e-2}, false),
      norm_case("layer norm of an inner dimension", {"bet"}, true),
      norm_case("rms norm", {.operand = "bte", .rms = true}, false),
      {"select", build_select_of_one_index},
      {"concatenate", build_concatenate},
      {"upsample", build_upsample},
      {"select, twice and whole", build_select_twice_and_whole},
      {"stack", build_stack},
      {"dropout", build_dropout},
      attention_case("causal attention", {true, 0.6, {}}),
      attention_case("attention", {false, 0.6, {}}),
      attention_case("attention with dropout", {true, 0.6, {0.3, 5}}),
      attention_case("grouped attention", {true, 0.6, {0.3, 5}, true, false}),
      attention_case("attention inside documents", {true, 0.6, {}, false, true}),
      attention_case("grouped attention inside documents", {false, 0.6, {0.3, 5}, true, true}),
      rotary_case("rotary", {"bthd", 10.0}, {kBatch, 3, 2, 4}),
      rotary_case("rotary, inverse", {"bthrd", 10.0, true}, {kBatch, 3, 2, 2, 2}),
      {"mixture of experts, top 1", [](Case& c) { build_mixture(c, 1); }},
      {"mixture of experts, top 2", [](Case& c) { build_mixture(c, 2); }},
      {"mixture of experts, top 3", [](Case& c) { build_mixture(c, 3); }},
      {"view", build_view},
      {"fan out", build_fan_out},
      {"tied", build_tied, 3},
      {"skips over layers", build_skips_over_layers, 3},
  };
}

TEST(Derivative, OfEveryOperatorIsThatOfFiniteDifferences) {
  for (const NamedCase& named : all_cases()) {
    SCOPED_TRACE(named.name);
    Case test(named.layers);
    named.build(test);
    const Graph graph = test.finish();
    expect_gradients_of_differences(test, graph);
  }
}

TEST(Derivative, CasesHaveEveryDifferentiableKernel) {
  std::set<std::string> kinds;
  for (const NamedCase& named : all_cases()) {
    Case test(named.layers);
    named.build(test);
    for (const Operator& op : test.builder.graph().operators) kinds.insert(kind_of(op.kernel));
  }
  for (const char* kind : {"einsum",
                           "map.copy",
                           "map.add",
                           "map.subtract",
                           "map.multiply",
                           "map.scale",
                           "map.relu",
                           "map.gelu",
                           "map.gelu_tanh",
                           "map.silu",
                           "map.tanh",
                           "map.softmax",
                           "map.cross_entropy",
                           "map.squared_error",
                           "reduce.sum",
                           "reduce.max",
                           "sum_exp",
                           "pick",
                           "embedding",
                           "norm_moments",
                           "norm_apply",
                           "select",
                           "concatenate",
                           "upsample",
                           "stack",
                           "dropout",
                           "attention",
                           "rotary",
                           "route",
                           "dispatch",
                           "combine",
                           "view",
                           "contribute"}) {
    EXPECT_TRUE(kinds.contains(kind)) << kind;
  }
}

TEST(Derivative, SumsTheUsesOfAResidualInTheLayerWhereTheyAre) {
  Case c(2);
  GraphBuilder& builder = c.builder;
  const TensorId w = c.parameter("w", "be", {kBatch, 3});
  const TensorId x = builder.add("x", Map{MapOp::tanh, {"be"}, "be"}, {w});
  builder.at(1);
  const TensorId y = builder.add("y", Map{MapOp::gelu, {"be"}, "be"}, {x});
  c.end_with(builder.add("z", Map{MapOp::add, {"be", "be"}, "be"}, {x, y}));
  const Graph graph = c.finish();
  const auto gradient = graph.find_tensor("x.gradient");
  ASSERT_TRUE(gradient.has_value());
  EXPECT_EQ(graph.tensor(*gradient).layer, 1);
  expect_gradients_of_differences(c, graph);
}

TEST(Derivative, SkipsWhatLeadsToNoParameter) {
  Case c;
  const TensorId x = c.builder.input("x", "be", {kBatch, 3}, DType::f64);
  const TensorId w = c.parameter("w", "ef", {3, 2});
  c.parameter("unused", "e", {3});
  const TensorId t = c.builder.add("t", Map{MapOp::tanh, {"be"}, "be"}, {x});
  c.end_with(c.builder.add("y", Einsum{"be", "ef", "bf"}, {t, w}));
  const Graph graph = c.finish();
  EXPECT_TRUE(graph.find_tensor("w.gradient"));
  EXPECT_FALSE(graph.find_tensor("t.gradient"));
  EXPECT_FALSE(graph.find_tensor("unused.accumulator"));
}

TEST(Derivative, AccumulatesAsSoonAsAGradientIsComplete) {
  Case c;
  TensorId x = c.parameter("x", "be", {kBatch, 3});
  for (int i = 0; i < 3; ++i) {
    const std::string n = std::to_string(i);
    const TensorId w = c.parameter("w" + n, "e", {3});
    x = c.builder.add("y" + n, Map{MapOp::multiply, {"be", "e"}, "be"}, {x, w});
  }
  c.end_with(x);
  const Graph graph = c.finish();
  const auto place = [&](const std::string& name) {
    for (std::size_t i = 0; i < graph.operators.size(); ++i) {
      if (graph.operators[i].name == name) return i;
    }
    return graph.operators.size();
  };
  EXPECT_LT(place("w2.accumulate"), place("y1.backward.operand1"));
  EXPECT_LT(place("w1.accumulate"), place("y0.backward.operand1"));
}

TEST(Derivative, NamesAnOperatorThatHasNone) {
  Case c;
  const TensorId x = c.parameter("x", "be", {kBatch, 3});
  c.end_with(
      c.builder.add("top", Reduce{.op = ReduceOp::max, .operand = "be", .result = "b"}, {x}));
  try {
    static_cast<void>(c.finish());
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("operator top (reduce.max)"), std::string::npos)
        << error.what();
  }
}

TEST(Derivative, RefusesMomentsOfAnotherTensor) {
  Case c;
  const TensorId x = c.parameter("x", "be", {kBatch, 3});
  const TensorId z = c.parameter("z", "be", {kBatch, 3});
  const TensorId scale = c.parameter("scale", "e", {3});
  const auto moments = c.builder.add_all("m", NormMoments{"be"}, {z});
  c.end_with(c.builder.add("y", NormApply{{"be"}, false}, {x, moments[0], moments[1], scale}));
  EXPECT_THROW(static_cast<void>(c.finish()), UserError);
}

// y[b,f] = sum over e of x[b,e]^2 w[e,f], made of one product whose derivative knows about the
// square: an operator that exists in this test only, with its own rule (f may not be split).
void add_square_product(Case& c) {
  const TensorId x = c.parameter("x", "be", {kBatch, 3});
  const TensorId w = c.parameter("w", "ef", {3, 4});
  const TensorId squares =
      c.builder.add("squares", Map{MapOp::multiply, {"be", "be"}, "be"}, {x, x});
  const Einsum kernel{"be", "ef", "bf"};
  ShardingRule rule = rule_of(kernel, {{kBatch, 3}, {3, 4}}, {{kBatch, 4}});
  rule.factors.at(static_cast<std::size_t>(rule.factor('f'))).whole = true;
  const Derivative derivative = [x](Backward& backward) {
    const TensorId dy = backward.gradient(0);
    const TensorId d_squares =
        backward.add("squares", Einsum{"bf", "ef", "be"}, {dy, backward.operand(1)});
    const TensorId product =
        backward.add("product", Map{MapOp::multiply, {"be", "be"}, "be"}, {d_squares, x});
    backward.give_beyond(x, backward.add("twice", Map{MapOp::scale, {"be"}, "be", 2.0}, {product}));
    backward.give(1, backward.add("right", Einsum{"be", "bf", "ef"}, {backward.operand(0), dy}));
  };
  c.end_with(c.builder.add("y", kernel, {squares, w}, {.rule = rule, .derivative = derivative}));
}

TEST(MadeUpOperator, HasItsOwnRuleAndDerivative) {
  Case c;
  add_square_product(c);
  const Graph graph = c.finish();
  expect_gradients_of_differences(c, graph);
  for (const Operator& op : graph.operators) {
    if (op.name != "y") continue;
    EXPECT_TRUE(op.rule.factors.at(static_cast<std::size_t>(op.rule.factor('f'))).whole);
  }
}

TEST(MadeUpOperator, WithAGradientOfTheWrongShapeIsNamed) {
  Case c;
  const TensorId x = c.parameter("x", "be", {kBatch, 3});
  const Derivative wrong = [](Backward& backward) {
    backward.give(
        0, backward.add("sum", Reduce{.operand = "be", .result = "e"}, {backward.gradient(0)}));
  };
  c.end_with(c.builder.add("y", Map{MapOp::tanh, {"be"}, "be"}, {x}, {.derivative = wrong}));
  try {
    static_cast<void>(c.finish());
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("operator y: its derivative gives x [2,3]"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace alpa
