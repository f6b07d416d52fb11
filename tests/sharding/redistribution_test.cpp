#include "alpa/sharding/redistribution.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include "alpa/base/random.hpp"

#include "sharding/all_specs.hpp"
#include "sharding/defined_redistribution.hpp"

/// Redistributions carried out move by move on pieces that all devices of a mesh hold.
namespace alpa {
namespace {

using test::all_specs;
using test::Partial;

double truth(std::int64_t index) {
  return std::floor(100.0 * uniform(1, 0, static_cast<std::uint64_t>(index)));
}

template <class F>
void for_each(const Shape& shape, const Box& box, const F& f) {
  if (is_empty(box)) return;
  std::vector<std::int64_t> at(shape.size(), 0);
  const std::int64_t count = num_elements(box.extent);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t global = 0;
    for (std::size_t d = 0; d < at.size(); ++d) global = global * shape[d] + box.offset[d] + at[d];
    f(static_cast<std::size_t>(global));
    for (std::size_t d = at.size(); d-- > 0;) {
      if (++at[d] < box.extent[d]) break;
      at[d] = 0;
    }
  }
}

/// What every device holds of a tensor: values by global index, NaN where it holds nothing.
class Pieces {
 public:
  Pieces(Shape shape, DeviceMesh mesh, ShardingSpec spec)
      : shape_(std::move(shape)), mesh_(std::move(mesh)), spec_(std::move(spec)) {
    for (int i = 0; i < num_devices(mesh_); ++i) held_.push_back(nothing());
  }

  /// Pieces of truth(); partial ones are addends (below-or-equal values for a maximum) that depend
  /// on the index and on the place along the partial axes, so that copies are equal.
  void fill() {
    for (int i = 0; i < num_devices(mesh_); ++i) {
      const auto group = devices_along(mesh_, i, spec_.partial_axes);
      const auto place =
          static_cast<std::size_t>(std::find(group.begin(), group.end(), i) - group.begin());
      for_each(shape_, box(i), [&](std::size_t g) {
        held_[static_cast<std::size_t>(i)][g] = part(g, place, group.size());
      });
    }
  }

  void apply(const Move& move) {
    ASSERT_EQ(move.before, spec_);
    const Pieces before = *this;
    spec_ = move.after;
    for (int i = 0; i < num_devices(mesh_); ++i) {
      auto& mine = held_[static_cast<std::size_t>(i)];
      mine = nothing();
      const auto group = devices_along(mesh_, i, move.axes);
      for_each(shape_, box(i), [&](std::size_t g) { mine[g] = before.value(move, group, i, g); });
    }
  }

  /// The tensor that a device's piece stands for is truth(), on every device.
  void expect_truth(const std::string& what) const {
    for (int i = 0; i < num_devices(mesh_); ++i) {
      for_each(shape_, box(i), [&](std::size_t g) {
        EXPECT_EQ(combined(devices_along(mesh_, i, spec_.partial_axes), g),
                  truth(static_cast<std::int64_t>(g)))
            << what << " device " << i << " element " << g;
      });
    }
  }

  [[nodiscard]] const ShardingSpec& spec() const { return spec_; }

 private:
  using Values = std::vector<double>;

  [[nodiscard]] Values nothing() const {
    return Values(static_cast<std::size_t>(num_elements(shape_)), std::nan(""));
  }
  [[nodiscard]] Box box(int device) const { return local_box(shape_, spec_, mesh_, device); }
  [[nodiscard]] double held(int device, std::size_t g) const {
    return held_[static_cast<std::size_t>(device)][g];
  }

  [[nodiscard]] double part(std::size_t g, std::size_t place, std::size_t count) const {
    const double whole = truth(static_cast<std::int64_t>(g));
    if (count == 1) return whole;
    if (spec_.partial_op == ReduceOp::max) return place == g % count ? whole : whole - 1.0;
    double rest = whole;
    for (std::size_t p = 1; p < count; ++p) {
      const double addend = std::floor(50.0 * uniform(2, p, g));
      if (p == place) return addend;
      rest -= addend;
    }
    return rest;
  }

  [[nodiscard]] double combined(const std::vector<int>& group, std::size_t g) const {
    double result = held(group.front(), g);
    for (std::size_t k = 1; k < group.size(); ++k) {
      const double other = held(group[k], g);
      result = spec_.partial_op == ReduceOp::sum ? result + other : std::max(result, other);
    }
    return result;
  }

  /// Element g of device i after the move; *this is what was before.
  [[nodiscard]] double value(const Move& move, const std::vector<int>& group, int i,
                             std::size_t g) const {
    switch (move.kind) {
      case Move::Kind::all_reduce:
      case Move::Kind::reduce_scatter:
        return combined(group, g);
      case Move::Kind::slice:
        return held(i, g);
      case Move::Kind::to_partial:
        return coordinates(mesh_, i)[static_cast<std::size_t>(move.axes[0])] == 0 ? held(i, g) : 0;
      case Move::Kind::all_gather:
      case Move::Kind::all_to_all:
      case Move::Kind::margins:
        break;
    }
    double found = std::nan("");
    for (const int member : group) {
      if (std::isnan(held(member, g))) continue;
      EXPECT_TRUE(std::isnan(found)) << "two members hold element " << g;
      found = held(member, g);
    }
    return found;
  }

  Shape shape_;
  DeviceMesh mesh_;
  ShardingSpec spec_;
  std::vector<Values> held_;
};

struct Setting {
  DeviceMesh mesh;
  Shape shape;
};

std::vector<Setting> settings() {
  return {{{{2}}, {}},        {{{2}}, {5}},       {{{2}}, {2, 3}},      {{{3}}, {7}},
          {{{3}}, {4, 3}},    {{{2, 2}}, {}},     {{{2, 2}}, {5}},      {{{2, 2}}, {4, 7}},
          {{{2, 2}}, {3, 2}}, {{{2, 3}}, {7, 6}}, {{{2, 2}}, {2, 4, 5}}};
}

/// Calls f(setting, from, to) for every pair that redistribution() is asked for: a partial maximum
/// is resolved, never made.
template <class F>
void for_all_pairs(const F& f) {
  for (const Setting& s : settings()) {
    for (const ShardingSpec& from : all_specs(s.shape, s.mesh, Partial::sum_and_max)) {
      for (const ShardingSpec& to : all_specs(s.shape, s.mesh, Partial::sum)) {
        const bool maximum = !from.partial_axes.empty() && from.partial_op == ReduceOp::max;
        if (maximum && !to.partial_axes.empty()) continue;
        f(s, from, to);
      }
    }
  }
}

TEST(Redistribution, GivesEveryDeviceItsPiece) {
  int pairs = 0;
  for_all_pairs([&](const Setting& s, const ShardingSpec& from, const ShardingSpec& to) {
    Pieces pieces(s.shape, s.mesh, from);
    pieces.fill();
    for (const Move& move : redistribution(s.shape, DType::f32, from, to, s.mesh)) {
      EXPECT_TRUE(fits(s.shape, move.after, s.mesh));
      pieces.apply(move);
    }
    EXPECT_EQ(pieces.spec(), to);
    pieces.expect_truth(to_string(from) + " to " + to_string(to));
    ++pairs;
  });
  EXPECT_GT(pairs, 2000);
}

TEST(Redistribution, ThereAndBackIsIdentity) {
  for_all_pairs([&](const Setting& s, const ShardingSpec& from, const ShardingSpec& to) {
    if (!from.partial_axes.empty() && from.partial_op == ReduceOp::max) return;
    Pieces pieces(s.shape, s.mesh, from);
    pieces.fill();
    for (const Move& m : redistribution(s.shape, DType::f32, from, to, s.mesh)) pieces.apply(m);
    for (const Move& m : redistribution(s.shape, DType::f32, to, from, s.mesh)) pieces.apply(m);
    EXPECT_EQ(pieces.spec(), from);
    pieces.expect_truth(to_string(from) + " over " + to_string(to));
  });
}

TEST(Redistribution, ToTheSameLayoutIsNothing) {
  for (const Setting& s : settings()) {
    for (const ShardingSpec& spec : all_specs(s.shape, s.mesh, Partial::sum_and_max)) {
      EXPECT_TRUE(redistribution(s.shape, DType::f32, spec, spec, s.mesh).empty());
    }
  }
}

TEST(Redistribution, OfOneAxisIsTheCollectiveOfTheField) {
  const std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> rows = {
      {"[R,R]+P0", "[R,R]", {"all_reduce"}}, {"[R,R]+P0", "[S0,R]", {"reduce_scatter"}},
      {"[S0,R]", "[R,R]", {"all_gather"}},   {"[S0,R]", "[R,S0]", {"all_to_all"}},
      {"[R,R]", "[R,S0]", {"slice"}},        {"[R,R]", "[R,R]+P0", {"to_partial"}},
      {"[R,R]+M0", "[R,R]", {"all_reduce"}}, {"[R,R]+P01", "[R,R]", {"all_reduce"}},
      {"[S01,R]", "[R,R]", {"all_gather"}},
  };
  for (const auto& [from, to, kinds] : rows) {
    const DeviceMesh mesh{{2, 2}};
    std::vector<std::string> found;
    for (const Move& move : redistribution({64, 64}, DType::f32, parse_sharding_spec(from),
                                           parse_sharding_spec(to), mesh)) {
      found.push_back(to_string(move.kind));
    }
    EXPECT_EQ(found, kinds) << from << " to " << to;
  }
}

// [64,64] f32 = 16,384 bytes; ring: 2(n-1)/n, (n-1)/n of the buffer, plus 4096 a collective.
TEST(Redistribution, CostsWhatARingSends) {
  const std::vector<std::tuple<std::string, std::string, int, double>> rows = {
      {"[R,R]+P0", "[R,R]", 2, 4096 + 16384},         {"[R,R]+P0", "[R,R]", 4, 4096 + 1.5 * 16384},
      {"[R,R]+P0", "[S0,R]", 4, 4096 + 0.75 * 16384}, {"[S0,R]", "[R,R]", 4, 4096 + 0.75 * 16384},
      {"[S0,R]", "[R,S0]", 4, 4096 + 0.75 * 4096},    {"[R,R]", "[S0,R]", 4, 1 + 40.96},
  };
  for (const auto& [from, to, devices, cost] : rows) {
    const DeviceMesh mesh{{devices}};
    const auto moves = redistribution({64, 64}, DType::f32, parse_sharding_spec(from),
                                      parse_sharding_spec(to), mesh);
    ASSERT_EQ(moves.size(), 1U);
    EXPECT_DOUBLE_EQ(move_cost({64, 64}, DType::f32, moves[0], mesh), cost) << from << to;
  }
}

double path_cost(const Setting& s, const ShardingSpec& from, const ShardingSpec& to) {
  double cost = 0;
  for (const Move& move : redistribution(s.shape, DType::f32, from, to, s.mesh)) {
    cost += move_cost(s.shape, DType::f32, move, s.mesh);
  }
  return cost;
}

// The cheapest path obeys the triangle inequality: going through any third layout costs no less.
TEST(Redistribution, CostsNoMoreThanOverAnotherLayout) {
  const Setting s{{{2, 2}}, {64, 96}};
  const auto specs = all_specs(s.shape, s.mesh, Partial::sum);
  std::vector<std::vector<double>> cost;
  for (const ShardingSpec& from : specs) {
    cost.emplace_back();
    for (const ShardingSpec& to : specs) cost.back().push_back(path_cost(s, from, to));
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    for (std::size_t k = 0; k < specs.size(); ++k) {
      for (std::size_t j = 0; j < specs.size(); ++j) {
        EXPECT_LE(cost[i][j], cost[i][k] + cost[k][j] + 1e-6)
            << to_string(specs[i]) << " over " << to_string(specs[k]) << " to "
            << to_string(specs[j]);
      }
    }
  }
}

TEST(Redistribution, MarginsAreFetchedLast) {
  const DeviceMesh mesh{{2, 2}};
  const auto path = [&](const std::string& from, const std::string& to) {
    std::string text;
    for (const Move& move : redistribution({8, 8}, DType::f32, parse_sharding_spec(from),
                                           parse_sharding_spec(to), mesh)) {
      text += to_string(move.kind) + " " + to_string(move.after) + "; ";
    }
    return text;
  };
  EXPECT_EQ(path("[S0~1~1,R]", "[S0~1~1,R]"), "");
  EXPECT_EQ(path("[S0,R]", "[S0~1~1,R]"), "margins [S0~1~1,R]; ");
  EXPECT_EQ(path("[R,R]", "[R,S1~0~2]"), "slice [R,S1]; margins [R,S1~0~2]; ");
  EXPECT_EQ(path("[S0,S1]", "[S0~1~1,S1~1~1]"), "margins [S0~1~1,S1~1~1]; ");
  EXPECT_EQ(path("[S0~1~1,R]", "[S0~1~1,R]+P1"), "to_partial [S0~1~1,R]+P1; ");
  EXPECT_EQ(path("[S0,R]", "[S0~1~1,R]+P1"), "to_partial [S0,R]+P1; margins [S0~1~1,R]+P1; ");
  const auto moves = redistribution({8, 8}, DType::f32, parse_sharding_spec("[S0,S1]"),
                                    parse_sharding_spec("[S0~1~1,S1]"), mesh);
  ASSERT_EQ(moves.size(), 1U);
  EXPECT_EQ(moves[0].axes, std::vector<MeshAxis>{0});
}

// The search that takes short cuts gives the path of the definition, ties included.
TEST(Redistribution, IsThePathThatIsDefined) {
  const std::vector<Setting> settings = {
      {{{4}}, {8, 6}},       {{{2, 2}}, {8, 6}}, {{{2, 3}}, {5, 4, 6}},    {{{2, 2}}, {2, 3, 4, 2}},
      {{{2, 2, 2}}, {8, 4}}, {{{1, 4}}, {4, 8}}, {{{2, 4}}, {1024, 4096}}, {{{2, 2}}, {}}};
  std::size_t paths = 0;
  for (const Setting& s : settings) {
    Redistributions all(s.shape, DType::f32, s.mesh);
    for (const ShardingSpec& to : all_specs(s.shape, s.mesh, Partial::sum)) {
      for (const ShardingSpec& from : all_specs(s.shape, s.mesh, Partial::sum_and_max)) {
        const bool sum = from.partial_axes.empty() || from.partial_op == ReduceOp::sum;
        if (!sum && !to.partial_axes.empty()) continue;
        const auto defined = test::defined_redistribution(s.shape, DType::f32, from, to, s.mesh);
        EXPECT_EQ(redistribution(s.shape, DType::f32, from, to, s.mesh), defined)
            << to_string(from) << " to " << to_string(to);
        std::vector<Move> among_all;
        const int source = all.number(from);
        for (const int move : all.path(source, all.number(to))) among_all.push_back(all.move(move));
        EXPECT_EQ(among_all, defined) << to_string(from) << " to " << to_string(to);
        ++paths;
      }
    }
  }
  EXPECT_GT(paths, 10'000U);
}

// A charge of four times as much changes what a tensor with a quarter of the bytes would change,
// whatever was asked before.
TEST(Redistribution, OfPartsIsThatOfASmallerTensor) {
  const std::vector<Setting> settings = {{{{2, 3}}, {5, 4, 6}},
                                         {{{2, 2}}, {64, 16}},
                                         {{{2, 4}}, {1024, 4096}},
                                         {{{3, 2}}, {300, 700}}};
  std::size_t others = 0;
  for (const Setting& s : settings) {
    Redistributions all(s.shape, DType::f64, s.mesh);
    for (const ShardingSpec& to : all_specs(s.shape, s.mesh, Partial::sum)) {
      for (const ShardingSpec& from : all_specs(s.shape, s.mesh, Partial::sum)) {
        const int source = all.number(from);
        const int target = all.number(to);
        const auto path = [&](double charge) {
          std::vector<Move> moves;
          for (const int move : all.path(source, target, charge)) moves.push_back(all.move(move));
          return moves;
        };
        const auto of_parts = path(4.0);
        EXPECT_EQ(of_parts, redistribution(s.shape, DType::f16, from, to, s.mesh))
            << to_string(from) << " to " << to_string(to);
        if (path(1.0) != of_parts) ++others;
      }
    }
  }
  EXPECT_GT(others, 0U);
}

}  // namespace
}  // namespace alpa
