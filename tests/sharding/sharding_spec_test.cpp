#include <gtest/gtest.h>

#include "alpa/base/error.hpp"

#include "sharding/all_specs.hpp"

namespace alpa {
namespace {

using test::all_specs;
using test::Partial;

TEST(LocalBox, IsTheTableOfTheHeader) {
  struct Row {
    Shape shape;
    std::string spec;
    std::vector<int> mesh;
    std::vector<Box> boxes;
  };
  const std::vector<Row> rows = {
      {{10}, "[S0]", {4}, {{{0}, {2}}, {{2}, {3}}, {{5}, {2}}, {{7}, {3}}}},
      {{5}, "[S0]", {3}, {{{0}, {1}}, {{1}, {2}}, {{3}, {2}}}},
      {{4, 6},
       "[S0,S1]",
       {2, 2},
       {{{0, 0}, {2, 3}}, {{0, 3}, {2, 3}}, {{2, 0}, {2, 3}}, {{2, 3}, {2, 3}}}},
      {{7}, "[S01]", {2, 2}, {{{0}, {1}}, {{1}, {2}}, {{3}, {2}}, {{5}, {2}}}},
      {{7}, "[S10]", {2, 2}, {{{0}, {1}}, {{3}, {2}}, {{1}, {2}}, {{5}, {2}}}},
      {{4, 3}, "[R,R]+P0", {2}, {{{0, 0}, {4, 3}}, {{0, 0}, {4, 3}}}},
      {{3, 5},
       "[R,S1]",
       {2, 3},
       {{{0, 0}, {3, 1}},
        {{0, 1}, {3, 2}},
        {{0, 3}, {3, 2}},
        {{0, 0}, {3, 1}},
        {{0, 1}, {3, 2}},
        {{0, 3}, {3, 2}}}},
      {{}, "[]", {2}, {{{}, {}}, {{}, {}}}},
  };
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.boxes.size(); ++i) {
      const Box box =
          local_box(row.shape, parse_sharding_spec(row.spec), {row.mesh}, static_cast<int>(i));
      EXPECT_EQ(box, row.boxes[i]) << row.spec << " device " << i << ": " << to_string(box);
    }
  }
}

TEST(LocalBox, PiecesTileTheTensorAndDifferByAtMostOne) {
  for (const DeviceMesh& mesh : {DeviceMesh{{2}}, {{3}}, {{2, 2}}, {{2, 3}}, {{2, 2, 2}}}) {
    const Shape shape{8, 11};
    for (const ShardingSpec& spec : all_specs(shape, mesh, Partial::none)) {
      std::vector<int> covered(88, 0);
      std::vector<std::pair<std::int64_t, std::int64_t>> range(2, {100, 0});
      for (int i = 0; i < num_devices(mesh); ++i) {
        const Box box = local_box(shape, spec, mesh, i);
        for (std::size_t d = 0; d < 2; ++d) {
          range[d] = {std::min(range[d].first, box.extent[d]),
                      std::max(range[d].second, box.extent[d])};
        }
        for (std::int64_t r = box.offset[0]; r < box.offset[0] + box.extent[0]; ++r) {
          for (std::int64_t c = box.offset[1]; c < box.offset[1] + box.extent[1]; ++c) {
            ++covered[static_cast<std::size_t>(r * 11 + c)];
          }
        }
      }
      EXPECT_EQ(covered, std::vector<int>(88, num_copies(spec, mesh))) << to_string(spec);
      for (const auto& [least, most] : range) EXPECT_LE(most - least, 1) << to_string(spec);
    }
  }
}

TEST(LocalBox, SplitsOverTwoAxesNest) {
  for (std::int64_t n = 6; n < 40; ++n) {
    for (int i = 0; i < 6; ++i) {
      const Box outer = local_box({n}, parse_sharding_spec("[S0]"), {{2, 3}}, i);
      const Box inner = local_box({n}, parse_sharding_spec("[S01]"), {{2, 3}}, i);
      EXPECT_TRUE(contains(outer, inner)) << n << " device " << i;
    }
  }
}

TEST(ShardingSpec, FitsWhereNoPieceIsEmpty) {
  EXPECT_TRUE(fits({3}, parse_sharding_spec("[S0]"), {{3}}));
  EXPECT_FALSE(fits({2}, parse_sharding_spec("[S0]"), {{3}}));
  EXPECT_TRUE(fits({4, 1}, parse_sharding_spec("[S01,R]"), {{2, 2}}));
  EXPECT_FALSE(fits({3, 4}, parse_sharding_spec("[S01,R]"), {{2, 2}}));
}

TEST(ShardingSpec, CountsCopies) {
  const DeviceMesh mesh{{2, 3}};
  EXPECT_EQ(num_copies(parse_sharding_spec("[R,R]"), mesh), 6);
  EXPECT_EQ(num_copies(parse_sharding_spec("[S0,R]"), mesh), 3);
  EXPECT_EQ(num_copies(parse_sharding_spec("[S0,R]+P1"), mesh), 1);
  EXPECT_EQ(num_copies(parse_sharding_spec("[R,S10]"), mesh), 1);
}

TEST(ShardingSpec, TextReadsBackAsItself) {
  int count = 0;
  for (const DeviceMesh& mesh : {DeviceMesh{{2}}, {{2, 2}}, {{2, 2, 2}}}) {
    for (const Shape& shape : {Shape{}, {8}, {8, 8}, {8, 8, 8}}) {
      for (const ShardingSpec& spec : all_specs(shape, mesh, Partial::sum_and_max)) {
        EXPECT_EQ(parse_sharding_spec(to_string(spec)), spec) << to_string(spec);
        ++count;
      }
    }
  }
  EXPECT_GT(count, 500);
  EXPECT_EQ(to_string(parse_sharding_spec("[S0,R,S12]+P3")), "[S0,R,S12]+P3");
  EXPECT_EQ(to_string(parse_sharding_spec("[R]+M20")), "[R]+M02");
}

TEST(ShardingSpec, MarginsReachBeyondThePieceUpToTheEnds) {
  const ShardingSpec spec = parse_sharding_spec("[R,S0~1~2]");
  ASSERT_EQ(spec.margins.size(), 1U);
  EXPECT_EQ(to_string(spec), "[R,S0~1~2]");
  EXPECT_EQ(without_margins(spec), parse_sharding_spec("[R,S0]"));
  const auto box = [&](int index) { return local_box({3, 12}, spec, {{3}}, index); };
  EXPECT_EQ(box(0), (Box{{0, 0}, {3, 6}}));
  EXPECT_EQ(box(1), (Box{{0, 3}, {3, 7}}));
  EXPECT_EQ(box(2), (Box{{0, 7}, {3, 5}}));
  EXPECT_EQ(to_string(parse_sharding_spec("[S0~3~0,S1~0~10]")), "[S0~3~0,S1~0~10]");
}

TEST(ShardingSpec, TextThatIsNoLayoutIsQuoted) {
  for (const std::string text : {"",
                                 "R",
                                 "[",
                                 "[R",
                                 "[S]",
                                 "[R0]",
                                 "[R,]",
                                 "[,R]",
                                 "[R R]",
                                 "[R]+",
                                 "[R]+P",
                                 "[R]+X0",
                                 "[R]P0",
                                 "[R]+P0x",
                                 "[S0]]",
                                 "[r]",
                                 "[S0,S1] ",
                                 "[R~1~1]",
                                 "[S0~1]",
                                 "[S0~1~]",
                                 "[S0~0~0]",
                                 "[S0~1~1~1]",
                                 "[S0~9999999999~1]"}) {
    try {
      static_cast<void>(parse_sharding_spec(text));
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
