#include <numeric>

#include "device/cases.hpp"

/// Routing against a plain implementation of its own, on every device.
namespace alpa::test {
namespace {

struct Routed {
  std::vector<double> expert, slot, gate, density;
};

/// Sorts the experts of each token, then fills slots choice by choice.
Routed plain_route(const std::vector<double>& p, int groups, int tokens, int experts, int top_k,
                   int capacity) {
  Routed r;
  r.density.assign(static_cast<std::size_t>(groups * experts), 0.0);
  for (int b = 0; b < groups; ++b) {
    std::vector<std::vector<int>> choices;
    for (int s = 0; s < tokens; ++s) {
      const double* row = p.data() + (b * tokens + s) * experts;
      std::vector<int> order(static_cast<std::size_t>(experts));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int i, int j) { return row[i] > row[j]; });
      order.resize(static_cast<std::size_t>(top_k));
      double sum = 0.0;
      for (const int x : order) sum += row[x];
      for (const int x : order) r.gate.push_back(top_k == 1 ? row[x] : row[x] / sum);
      r.density[static_cast<std::size_t>(b * experts + order[0])] += 1.0 / tokens;
      choices.push_back(order);
    }
    std::map<std::pair<int, int>, double> slot_of;  // [token, choice]
    std::map<int, int> taken;
    for (int k = 0; k < top_k; ++k) {
      for (int s = 0; s < tokens; ++s) {
        const int x = choices[static_cast<std::size_t>(s)][static_cast<std::size_t>(k)];
        slot_of[{s, k}] = taken[x] < capacity ? taken[x]++ : -1;
      }
    }
    for (int s = 0; s < tokens; ++s) {
      for (int k = 0; k < top_k; ++k) {
        r.expert.push_back(choices[static_cast<std::size_t>(s)][static_cast<std::size_t>(k)]);
        r.slot.push_back(slot_of.at({s, k}));
      }
    }
  }
  return r;
}

std::vector<std::unique_ptr<Device>> devices() {
  std::vector<std::unique_ptr<Device>> all;
  all.push_back(make_reference_device());
  for (const std::string& level : cpu_levels()) {
    all.push_back(make_cpu_device(1, level));
    all.push_back(make_cpu_device(3, level));
  }
  return all;
}

Tensor whole_of(DType dtype, const Shape& shape) {
  return zeros(dtype, {Shape(shape.size(), 0), shape}, shape);
}

double rounded_to(DType dtype, double value) {
  return dtype == DType::f32 ? static_cast<double>(static_cast<float>(value)) : value;
}

TEST(Experts, RoutingIsThatOfAPlainImplementation) {
  std::mt19937_64 random(21);
  const auto between = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  int dropped = 0, ties = 0;
  for (int round = 0; round < 60; ++round) {
    const int groups = between(1, 4), tokens = between(1, 40), experts = between(1, 9);
    const int top_k = between(1, std::min(experts, 3)), capacity = between(1, 12);
    for (const DType dtype : {DType::f64, DType::f32}) {
      Tensor p = whole_of(dtype, {groups, tokens, experts});
      // Few different values in every second round: many ties.
      for (double& value : p.values) {
        value = round % 2 == 0 ? 0.1 * between(1, 3)
                               : std::uniform_real_distribution<double>(0.01, 1.0)(random);
        value = rounded_to(dtype, value);
      }
      ties += round % 2 == 0;
      const Routed plain = plain_route(p.values, groups, tokens, experts, top_k, capacity);
      dropped += static_cast<int>(std::count(plain.slot.begin(), plain.slot.end(), -1.0));
      for (const auto& device : devices()) {
        const Shape choices{groups, tokens, top_k};
        const auto found = run(*device, Route{{top_k, capacity}}, {p},
                               {whole_of(DType::i32, choices), whole_of(DType::i32, choices),
                                whole_of(dtype, choices), whole_of(DType::f64, {groups, experts})});
        EXPECT_EQ(found[0].values, plain.expert) << device->name();
        EXPECT_EQ(found[1].values, plain.slot) << device->name();
        for (std::size_t i = 0; i < plain.gate.size(); ++i) {
          EXPECT_NEAR(found[2].values[i], plain.gate[i], dtype == DType::f64 ? 1e-14 : 1e-6);
        }
        for (std::size_t i = 0; i < plain.density.size(); ++i) {
          EXPECT_NEAR(found[3].values[i], plain.density[i], 1e-12);
        }
      }
    }
  }
  EXPECT_GT(dropped, 100);
  EXPECT_GT(ties, 10);
}

/// What routing gives keeps to the capacity: no slot twice, none beyond it, full before any drop.
TEST(Experts, NoSlotIsGivenTwiceAndNoneIsLeftBeforeADrop) {
  std::mt19937_64 random(22);
  const int groups = 3, tokens = 50, experts = 6, top_k = 2, capacity = 15;
  Tensor p = whole_of(DType::f32, {groups, tokens, experts});
  for (double& value : p.values) value = std::uniform_real_distribution<double>(0.01, 1.0)(random);
  p = rounded(p);
  for (const auto& device : devices()) {
    const Shape choices{groups, tokens, top_k};
    const auto found =
        run(*device, Route{{top_k, capacity}}, {p},
            {whole_of(DType::i32, choices), whole_of(DType::i32, choices),
             whole_of(DType::f32, choices), whole_of(DType::f64, {groups, experts})});
    for (int b = 0; b < groups; ++b) {
      std::map<int, std::set<int>> given;
      std::map<int, int> refused;
      for (int i = 0; i < tokens * top_k; ++i) {
        const auto at = static_cast<std::size_t>(b * tokens * top_k + i);
        const int expert = static_cast<int>(found[0].values[at]);
        const int slot = static_cast<int>(found[1].values[at]);
        if (slot < 0) {
          ++refused[expert];
          continue;
        }
        EXPECT_LT(slot, capacity);
        EXPECT_TRUE(given[expert].insert(slot).second) << "slot " << slot << " is given twice";
      }
      EXPECT_FALSE(refused.empty());
      for (const auto& [expert, count] : refused) {
        EXPECT_EQ(static_cast<int>(given[expert].size()), capacity);
      }
    }
  }
}

/// Tokens that found a slot come back from the experts as they went; dropped ones come back as 0.
TEST(Experts, CombineBringsBackWhatDispatchSent) {
  std::mt19937_64 random(23);
  const int groups = 2, tokens = 16, experts = 4, capacity = 3, width = 37;
  Tensor p = whole_of(DType::f64, {groups, tokens, experts});
  for (double& value : p.values) value = std::uniform_real_distribution<double>(0.01, 1.0)(random);
  Tensor x = whole_of(DType::f64, {groups, tokens, width});
  for (double& value : x.values) value = std::uniform_real_distribution<double>(-1.0, 1.0)(random);
  for (const auto& device : devices()) {
    const Shape choices{groups, tokens, 1};
    const auto routed =
        run(*device, Route{{1, capacity}}, {p},
            {whole_of(DType::i32, choices), whole_of(DType::i32, choices),
             whole_of(DType::f64, choices), whole_of(DType::f64, {groups, experts})});
    const auto slots = run(*device, Dispatch{}, {x, routed[0], routed[1]},
                           {whole_of(DType::f64, {experts, groups, capacity, width})});
    const auto back = run(*device, Combine{}, {slots[0], routed[0], routed[1]},
                          {whole_of(DType::f64, {groups, tokens, width})});
    int dropped = 0;
    for (std::size_t i = 0; i < x.values.size(); ++i) {
      const bool kept = routed[1].values[i / width] >= 0.0;
      dropped += kept ? 0 : 1;
      EXPECT_EQ(back[0].values[i], kept ? x.values[i] : 0.0);
    }
    EXPECT_GT(dropped, 0);
  }
}

/// Groups of half a sample, of one and of two: pieces of the batch are pieces of the groups.
TEST(Experts, PiecesOfAViewAreTheViewOfPieces) {
  for (const auto& [samples, groups] : {std::pair<std::int64_t, std::int64_t>{4, 8}, {4, 2}}) {
    Tensor x = whole_of(DType::f32, {samples, 6, 5});
    std::iota(x.values.begin(), x.values.end(), 1.0);
    const Shape to{groups, samples * 6 / groups, 5};
    for (const auto& device : devices()) {
      const View view{"bte", "bse"};
      const auto expected = run(*device, view, {x}, {whole_of(DType::f32, to)});
      EXPECT_EQ(expected[0].values, x.values);
      for (std::int64_t half = 0; half < 2; ++half) {
        const auto piece = [half](const Shape& shape) {
          return Box{{half * shape[0] / 2, 0, 0}, {shape[0] / 2, shape[1], shape[2]}};
        };
        const auto found =
            run(*device, view, {cut(x, piece(x.full))}, {zeros(DType::f32, piece(to), to)});
        EXPECT_EQ(found[0].values, cut(expected[0], piece(to)).values);
      }
    }
  }
}

}  // namespace
}  // namespace alpa::test
