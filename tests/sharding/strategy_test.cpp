#include "alpa/sharding/strategy.hpp"

#include <set>

#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

// x [b,e] * w [e,f] -> y [b,f]
ShardingRule product() { return rule_of(Einsum{"be", "ef", "bf"}, {{8, 6}, {6, 4}}, {{8, 4}}); }

std::vector<std::string> texts(const OperatorLayout& layout) {
  std::vector<std::string> list;
  for (const ShardingSpec& spec : layout.operands) list.push_back(to_string(spec));
  for (const ShardingSpec& spec : layout.results) list.push_back(to_string(spec));
  return list;
}

TEST(Strategy, GivesTheLayoutsOfTheTextbook) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> rows = {
      {"replicated", {"[R,R]", "[R,R]", "[R,R]"}},
      {"b@0", {"[S0,R]", "[R,R]", "[S0,R]"}},
      {"f@1", {"[R,R]", "[R,S1]", "[R,S1]"}},
      {"e@1", {"[R,S1]", "[S1,R]", "[R,R]+P1"}},
      {"linear0@0", {"[R,R]+P0", "[R,R]", "[R,R]+P0"}},
      {"linear1@1", {"[R,R]", "[R,R]+P1", "[R,R]+P1"}},
      {"b@0 e@1", {"[S0,S1]", "[S1,R]", "[S0,R]+P1"}},
      {"b@0 b@1", {"[S01,R]", "[R,R]", "[S01,R]"}},
      {"b@1 b@0", {"[S10,R]", "[R,R]", "[S10,R]"}},
      {"e@0 linear0@1", {"[R,S0]+P1", "[S0,R]", "[R,R]+P01"}},
  };
  for (const auto& [text, layouts] : rows) {
    const auto result = apply_strategy(product(), parse_strategy(text), {{2, 2}});
    ASSERT_TRUE(result.layout) << text << ": " << result.reason;
    EXPECT_EQ(texts(*result.layout), layouts) << text;
  }
}

TEST(Strategy, OfAMaximumLeavesPartialMaxima) {
  const auto rule =
      rule_of(Reduce{.op = ReduceOp::max, .operand = "bv", .result = "b"}, {{4, 6}}, {{4}});
  const auto result = apply_strategy(rule, parse_strategy("v@0"), {{2}});
  ASSERT_TRUE(result.layout);
  EXPECT_EQ(texts(*result.layout), (std::vector<std::string>{"[R,S0]", "[R]+M0"}));
}

TEST(Strategy, RefusedOnesSayWhy) {
  ShardingRule whole = product();
  whole.factors[static_cast<std::size_t>(whole.factor('f'))].whole = true;
  ShardingRule unreduced = product();
  unreduced.reduction = {ShardingRule::Reduction::none};
  const std::vector<std::tuple<ShardingRule, std::string, std::string>> rows = {
      {product(), "b@2", "the mesh has no axis 2"},
      {product(), "b@0 f@0", "axis 0 is used twice"},
      {product(), "x@0", "no factor 'x'"},
      {product(), "linear2@0", "no linear group 2"},
      {whole, "f@0", "factor 'f' cannot be split"},
      {unreduced, "e@0", "result 0 needs all of it"},
      {product(), "f@0 f@1", "factor 'f' of size 4 cannot be split 6 ways"},
  };
  for (const auto& [rule, text, why] : rows) {
    const auto result = apply_strategy(rule, parse_strategy(text), {{2, 3}});
    EXPECT_FALSE(result.layout) << text;
    EXPECT_NE(result.reason.find(why), std::string::npos) << text << ": " << result.reason;
  }
}

TEST(Strategy, AllOfThemAreValidDistinctAndComplete) {
  for (const DeviceMesh& mesh : {DeviceMesh{{2}}, {{3}}, {{2, 2}}, {{2, 3}}}) {
    const ShardingRule rule = product();
    const auto all = all_strategies(rule, mesh);
    EXPECT_EQ(all.front(), Strategy{});
    EXPECT_EQ(std::set<Strategy>(all.begin(), all.end()).size(), all.size());
    for (const Strategy& s : all) EXPECT_TRUE(apply_strategy(rule, s, mesh).layout);
  }
  // {2}: nothing, b, e, f, linear0, linear1; {2,2}: 6 x 6 and the second order of b, e, f twice
  EXPECT_EQ(all_strategies(product(), {{2}}).size(), 6U);
  EXPECT_EQ(all_strategies(product(), {{2, 2}}).size(), 39U);
}

TEST(Strategy, TextReadsBackAsItself) {
  for (const DeviceMesh& mesh : {DeviceMesh{{1}}, {{2}}, {{2, 2}}, {{2, 2, 2}}}) {
    for (const Strategy& s : all_strategies(product(), mesh)) {
      EXPECT_EQ(parse_strategy(to_string(s)), s) << to_string(s);
    }
  }
}

TEST(Strategy, TextThatIsNoStrategyIsQuoted) {
  for (const std::string text : {"", "  ", "b", "@0", "b@", "b@x", "b@-1", "bb@0", "linear@0",
                                 "linearx@0", "b@0 replicated", "b@1000000000000"}) {
    try {
      static_cast<void>(parse_strategy(text));
      ADD_FAILURE() << "accepted " << text;
    } catch (const PlanError& error) {
      EXPECT_EQ(error.code(), ExitCode::configuration);
      EXPECT_NE(std::string(error.what()).find("'" + text + "'"), std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace alpa
