#include "alpa/graph/rule.hpp"

#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

using Reduction = ShardingRule::Reduction;
using Groups = std::vector<std::vector<int>>;

std::string factors_of(const ShardingRule& rule) {
  std::string text;
  for (const Factor& factor : rule.factors) {
    text += (text.empty() ? "" : " ") + std::string(1, factor.name) + "=" +
            std::to_string(factor.size) + (factor.whole ? "!" : "");
  }
  return text;
}

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Rule, OfAProductSplitsEveryLetterAndIsLinearInEachFactor) {
  const ShardingRule rule = rule_of(Einsum{"be", "ef", "bf"}, {{4, 8}, {8, 6}}, {{4, 6}});
  EXPECT_EQ(factors_of(rule), "b=4 f=6 e=8");
  EXPECT_EQ(rule.operands, (std::vector<Dims>{"be", "ef"}));
  EXPECT_EQ(rule.results, (std::vector<Dims>{"bf"}));
  EXPECT_EQ(rule.reduction, (std::vector<Reduction>{Reduction::sum}));
  EXPECT_EQ(rule.linear, (Groups{{0}, {1}}));
  EXPECT_EQ(rule.flops_per_point, 2.0);
  EXPECT_EQ(rule.factor('e'), 2);
  EXPECT_EQ(rule.factor('z'), -1);
}

TEST(Rule, OfASumIsLinearInAllOperandsTogether) {
  const ShardingRule rule =
      rule_of(Map{MapOp::add, {"be", "be", "e"}, "be"}, {{4, 8}, {4, 8}, {8}}, {{4, 8}});
  EXPECT_EQ(rule.linear, (Groups{{0, 1, 2}}));
  EXPECT_EQ(rule.reduction, (std::vector<Reduction>{Reduction::none}));
}

TEST(Rule, OfMapsIsLinearInTheGradientOnly) {
  const std::vector<Shape> two{{4, 8}, {4, 8}};
  const auto linear = [&](MapOp op, const std::vector<Dims>& dims, const std::vector<Shape>& s) {
    return rule_of(Map{op, dims, "be"}, s, {{4, 8}}).linear;
  };
  EXPECT_EQ(linear(MapOp::subtract, {"be", "be"}, two), (Groups{{0, 1}}));
  EXPECT_EQ(linear(MapOp::add_scaled, {"be", "be"}, two), (Groups{{0, 1}}));
  EXPECT_EQ(linear(MapOp::multiply, {"be", "be"}, two), (Groups{{0}, {1}}));
  EXPECT_EQ(linear(MapOp::gelu_gradient, {"be", "be"}, two), (Groups{{1}}));
  EXPECT_EQ(linear(MapOp::gelu, {"be"}, {{4, 8}}), Groups{});
  EXPECT_EQ(linear(MapOp::scale, {"be"}, {{4, 8}}), (Groups{{0}}));
  EXPECT_EQ(linear(MapOp::softmax_gradient, {"be", "be", "b"}, {{4, 8}, {4, 8}, {4}}),
            (Groups{{1, 2}}));
}

TEST(Rule, OfReductionsLeavesPartialResultsOfTheirKind) {
  const Shape x{4, 8}, row{4};
  const Reduce sum{.operand = "be", .result = "b"};
  EXPECT_EQ(rule_of(sum, {x}, {row}).reduction.at(0), Reduction::sum);
  EXPECT_EQ(rule_of(sum, {x}, {row}).linear, (Groups{{0}}));
  const Reduce maximum{.op = ReduceOp::max, .operand = "be", .result = "b"};
  EXPECT_EQ(rule_of(maximum, {x}, {row}).reduction.at(0), Reduction::max);
  EXPECT_EQ(rule_of(maximum, {x}, {row}).linear, Groups{});
  const Reduce squares{.square = true, .operand = "be", .result = "b"};
  EXPECT_EQ(rule_of(squares, {x}, {row}).reduction.at(0), Reduction::sum);
  EXPECT_EQ(rule_of(squares, {x}, {row}).linear, Groups{});
  EXPECT_EQ(rule_of(SumExp{"be", "b"}, {x, row}, {row}).reduction.at(0), Reduction::sum);
  EXPECT_EQ(rule_of(NormMoments{"be"}, {x}, {row, row}).reduction,
            (std::vector<Reduction>{Reduction::sum, Reduction::sum}));
}

TEST(Rule, OfLookupsSplitsTheTable) {
  const ShardingRule rule = rule_of(Embedding{"ve", "bt", "bte"}, {{11, 8}, {2, 5}}, {{2, 5, 8}});
  EXPECT_EQ(factors_of(rule), "b=2 t=5 e=8 v=11");
  EXPECT_EQ(rule.reduction.at(0), Reduction::sum);
  EXPECT_EQ(rule.linear, (Groups{{0}}));
  const ShardingRule back =
      rule_of(EmbeddingGradient{"bte", "bt", "ve"}, {{2, 5, 8}, {2, 5}}, {{11, 8}});
  EXPECT_EQ(back.reduction.at(0), Reduction::sum);
  const ShardingRule pick = rule_of(Pick{"btv", "bt", 'v'}, {{2, 5, 11}, {2, 5}}, {{2, 5}});
  EXPECT_EQ(pick.reduction.at(0), Reduction::sum);
  EXPECT_EQ(pick.linear, (Groups{{0}}));
}

TEST(Rule, OfNormalisationSplitsTheNormalisedLetter) {
  const NormAttributes norm{"bte"};
  const Shape x{2, 5, 8}, row{2, 5}, e{8};
  EXPECT_EQ(rule_of(NormApply{norm, true}, {x, row, row, e, e}, {x}).linear, Groups{});
  EXPECT_EQ(rule_of(NormGradientMoments{norm}, {x, x, row, row, e}, {row, row}).linear,
            (Groups{{0}}));
  EXPECT_EQ(rule_of(NormGradientInput{norm}, {x, x, row, row, e, row, row}, {x}).linear,
            (Groups{{0, 5, 6}}));
  const ShardingRule parameters =
      rule_of(NormGradientParameters{norm, true}, {x, x, row, row}, {e, e});
  EXPECT_EQ(parameters.linear, (Groups{{0}}));
  EXPECT_EQ(parameters.reduction, (std::vector<Reduction>{Reduction::sum, Reduction::sum}));
  for (const Factor& factor : parameters.factors) EXPECT_FALSE(factor.whole) << factor.name;
}

TEST(Rule, OfAttentionKeepsKeysAndHeadDimensionWhole) {
  const Shape q{2, 5, 3, 4}, k{2, 6, 3, 4}, row{2, 5, 3};
  const ShardingRule rule = rule_of(Attention{}, {q, k, k, {}, {}}, {q, row});
  EXPECT_EQ(factors_of(rule), "b=2 t=5 h=3 d=4! s=6!");
  EXPECT_EQ(rule.flops_per_point, 4.0);
  const ShardingRule back = rule_of(AttentionGradient{}, {q, k, k, q, row, q, {}, {}}, {q, k, k});
  EXPECT_EQ(back.reduction,
            (std::vector<Reduction>{Reduction::none, Reduction::sum, Reduction::sum}));
  EXPECT_EQ(factors_of(back), "b=2 t=5 h=3 d=4! s=6!");
  EXPECT_EQ(back.flops_per_point, 8.0);
  EXPECT_EQ(back.linear, Groups{});
}

TEST(Rule, OfSelectAndStackKeepsTheirLetterWhole) {
  const ShardingRule select = rule_of(Select{"bke", 'k', 2}, {{2, 3, 4}}, {{2, 4}});
  EXPECT_EQ(factors_of(select), "b=2 e=4 k=3!");
  EXPECT_EQ(select.linear, (Groups{{0}}));
  const ShardingRule stack = rule_of(Stack{"bke", 'k'}, {{2, 4}, {2, 4}}, {{2, 2, 4}});
  EXPECT_EQ(factors_of(stack), "b=2 k=2! e=4");
  EXPECT_EQ(stack.linear, (Groups{{0, 1}}));
}

TEST(Rule, OfTheUpdateSplitsEveryLetter) {
  const Shape p{3, 4};
  const ShardingRule rule =
      rule_of(Update{.kind = OptimizerKind::adamw, .operand = "ef"}, {p, {}, {}, {}}, {p, p, p});
  EXPECT_EQ(factors_of(rule), "e=3 f=4");
  EXPECT_EQ(rule.linear, Groups{});
  EXPECT_EQ(rule_of(Accumulate{"ef"}, {p}, {p}).linear, (Groups{{0}}));
  EXPECT_EQ(rule_of(Contribute{}, {{}}, {{}}).linear, (Groups{{0}}));
  EXPECT_EQ(factors_of(rule_of(Fill{1.0}, {}, {p})), "a=3 b=4");
  EXPECT_EQ(rule_of(CopyBox{}, {p}, {p}).linear, (Groups{{0}}));
}

TEST(Rule, NamesLettersAndShapesThatDoNotFit) {
  const auto refused = [](const Kernel& kernel, const std::vector<Shape>& operands,
                          const std::vector<Shape>& results) {
    return message_of([&] { static_cast<void>(rule_of(kernel, operands, results)); });
  };
  EXPECT_EQ(refused(Einsum{"be", "ef", "bf"}, {{4, 8}, {7, 6}}, {{4, 6}}),
            "einsum (\"be\", \"ef\") -> (\"bf\") does not fit shapes ([4,8], [7,6]) -> ([4,6]): "
            "letter 'e' is both 8 and 7");
  EXPECT_NE(refused(Einsum{"be", "ef", "bf"}, {{4, 8}}, {{4, 6}}).find("another number"),
            std::string::npos);
  EXPECT_NE(refused(Einsum{"be", "ff", "b"}, {{4, 8}, {6, 6}}, {{4}}).find("'e' stands in one"),
            std::string::npos);
  EXPECT_NE(refused(Map{MapOp::copy, {"bb"}, "b"}, {{4, 4}}, {{4}}).find("twice"),
            std::string::npos);
  EXPECT_NE(refused(Map{MapOp::copy, {"be"}, "b"}, {{4, 4}}, {{4}}).find("missing in the result"),
            std::string::npos);
  EXPECT_NE(refused(Map{MapOp::subtract, {"b"}, "b"}, {{4}}, {{4}}).find("needs 2"),
            std::string::npos);
  EXPECT_NE(refused(Map{MapOp::copy, {"b"}, "b"}, {{4, 2}}, {{4}}).find("1 letters"),
            std::string::npos);
  EXPECT_NE(refused(Select{"bk", 'k', 3}, {{4, 3}}, {{4}}).find("index 3 lies outside"),
            std::string::npos);
  EXPECT_NE(refused(Stack{"bk", 'k'}, {{4}, {4}}, {{4, 3}}).find("letter 'k' must be 2"),
            std::string::npos);
}

}  // namespace
}  // namespace alpa
