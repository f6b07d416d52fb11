#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"
#include "alpa/graph/builder.hpp"
#include "alpa/graph/training.hpp"

namespace alpa {
namespace {

/// y = tanh(x w) v in two layers, squared error; v is w if `tied`.
Graph two_layers(DType dtype, bool tied = false) {
  GraphBuilder builder(2, 4, dtype);
  const TensorId x = builder.input("x", "be", {4, 3}, dtype);
  const TensorId w = builder.parameter("w", "ef", {3, 3}, {});
  const TensorId h = builder.add("h", Einsum{"be", "ef", "bf"}, {x, w});
  const TensorId t = builder.add("t", Map{MapOp::tanh, {"bf"}, "bf"}, {h});
  builder.at(1);
  const TensorId v = tied ? w : builder.parameter("v", "fe", {3, 3}, {});
  const TensorId y = builder.add("y", Einsum{"bf", "fe", "be"}, {t, v});
  const TensorId target = builder.input("targets", "be", {4, 3}, at_least_f32(dtype));
  const TensorId weight = builder.input("weights", "b", {4}, at_least_f32(dtype));
  const Map error{MapOp::squared_error, {"be", "be", "b", ""}, "be"};
  const TensorId values = builder.add(
      "error", error,
      {y, target, weight, builder.scalar(scalar_name::kInverseWeight, Role::step_scalar)});
  add_training(builder, {add_loss(builder, "loss", values)}, OptimizerSpec{});
  return builder.build();
}

const Tensor& tensor_named(const Graph& graph, const std::string& name) {
  const auto id = graph.find_tensor(name);
  if (!id) throw UserError("no tensor " + name);
  return graph.tensor(*id);
}

const Operator& maker_of(const Graph& graph, const std::string& tensor) {
  for (const Operator& op : graph.operators) {
    for (const TensorId result : op.results) {
      if (graph.tensor(result).name == tensor) return op;
    }
  }
  throw UserError("nothing makes " + tensor);
}

const Operator& operator_named(const Graph& graph, const std::string& name) {
  for (const Operator& op : graph.operators) {
    if (op.name == name) return op;
  }
  throw UserError("no operator " + name);
}

TEST(Precision, ParametersSumsAndStatesStayF32BesideLowActivations) {
  for (const DType low : {DType::bf16, DType::f16}) {
    const Graph graph = two_layers(low);
    for (const Tensor& tensor : graph.tensors) {
      const bool kept = tensor.role == Role::parameter || tensor.role == Role::accumulator ||
                        tensor.role == Role::optimizer_state;
      const bool cast = tensor.role == Role::replica;
      EXPECT_TRUE(!kept || tensor.dtype == DType::f32) << tensor.name;
      EXPECT_TRUE(!cast || tensor.dtype == low) << tensor.name;
    }
    for (const char* name : {"h", "t", "y", "y.gradient", "w@0.gradient"}) {
      EXPECT_EQ(tensor_named(graph, name).dtype, low) << name;
    }
    EXPECT_EQ(tensor_named(graph, "loss").dtype, DType::f64);
  }
}

TEST(Precision, AParameterIsCastOnceAStepInItsOwnLayer) {
  const Graph graph = two_layers(DType::bf16, true);
  const Operator& cast = maker_of(graph, "w@0");
  EXPECT_EQ(cast.phase, Phase::prepare);
  EXPECT_EQ(graph.tensor(cast.operands.at(0)).name, "w");
  EXPECT_TRUE(cast.rule.linear.empty());  // a partial sum is not rounded
  const Operator& copy = maker_of(graph, "w@1");
  EXPECT_EQ(graph.tensor(copy.operands.at(0)).name, "w@0");  // 2 bytes cross between stages
  for (const Operator& op : graph.operators) {
    if (op.phase != Phase::forward && op.phase != Phase::backward) continue;
    for (const TensorId operand : op.operands) {
      EXPECT_NE(graph.tensor(operand).role, Role::parameter) << op.name;
    }
  }
  const Operator& sum = maker_of(graph, "w.gradient_sum");
  EXPECT_EQ(graph.tensor(sum.operands.at(0)).name, "w@0.accumulator");
  EXPECT_EQ(sum.operands.size(), 2U);
}

TEST(Precision, WiderTypesNeedNoCasts) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    EXPECT_TRUE(tensors_with(two_layers(dtype), Role::replica).empty());
    EXPECT_EQ(tensor_named(two_layers(dtype), "w").dtype, dtype);
  }
}

TEST(Precision, AnOperatorOfF32OperandsReadsParametersAsTheyAre) {
  GraphBuilder builder(1, 4, DType::bf16);
  const TensorId x = builder.input("x", "be", {4, 3}, DType::bf16);
  const TensorId w = builder.parameter("w", "ef", {3, 2}, {});
  const TensorId wide =
      builder.add("wide", Map{MapOp::copy, {"be"}, "be"}, {x}, {.dtype = DType::f32});
  const TensorId scores = builder.add("scores", Einsum{"be", "ef", "bf"}, {wide, w});
  const TensorId low = builder.add("low", Einsum{"be", "ef", "bf"}, {x, w});
  EXPECT_EQ(builder.tensor(scores).dtype, DType::f32);
  EXPECT_EQ(builder.tensor(low).dtype, DType::bf16);
  const Graph graph = builder.build();
  EXPECT_EQ(graph.tensor(maker_of(graph, "scores").operands.at(1)).name, "w");
  EXPECT_EQ(graph.tensor(maker_of(graph, "low").operands.at(1)).name, "w@0");
}

TEST(Precision, StatisticsAreF32) {
  GraphBuilder builder(1, 4, DType::bf16);
  const TensorId x = builder.input("x", "bv", {4, 3}, DType::bf16);
  const TensorId labels = builder.input("labels", "b", {4}, DType::i32);
  const TensorId maximum =
      builder.add("max", Reduce{.op = ReduceOp::max, .operand = "bv", .result = "b"}, {x});
  const TensorId sum = builder.add("sum", SumExp{"bv", "b"}, {x, maximum});
  const TensorId picked = builder.add("picked", Pick{"bv", "b", 'v'}, {x, labels});
  for (const TensorId id : {maximum, sum, picked}) {
    EXPECT_EQ(builder.tensor(id).dtype, DType::f32) << builder.tensor(id).name;
  }
  EXPECT_NO_THROW((void)builder.build());
}

TEST(Precision, Fp16TakesALossScaleToTheGradientsAndOffTheirSums) {
  const Graph graph = two_layers(DType::f16);
  const Operator& gradient = maker_of(graph, "y.gradient");
  EXPECT_EQ(graph.tensor(gradient.operands.at(3)).name, scalar_name::kGradientWeight);
  EXPECT_EQ(graph.tensor(maker_of(graph, "error").operands.at(3)).name,
            scalar_name::kInverseWeight);
  const Operator& sum = operator_named(graph, "w@0.accumulate");
  EXPECT_EQ(graph.tensor(sum.operands.at(1)).name, scalar_name::kInverseLossScale);
  EXPECT_EQ(graph.tensor(maker_of(graph, "w.norm_squared").operands.at(0)).name,
            "w@0.accumulator");
  EXPECT_FALSE(two_layers(DType::bf16).find_tensor(scalar_name::kInverseLossScale).has_value());
}

TEST(Precision, AMixtureOfTypesIsRefused) {
  GraphBuilder builder(1, 4, DType::bf16);
  const TensorId x = builder.input("x", "be", {4, 3}, DType::bf16);
  const TensorId y = builder.input("y", "be", {4, 3}, DType::f32);
  builder.add("sum", Map{MapOp::add, {"be", "be"}, "be"}, {x, y});
  EXPECT_THROW((void)builder.build(), UserError);
}

}  // namespace
}  // namespace alpa
