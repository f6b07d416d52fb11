#include "alpa/inter_op/clustering.hpp"

#include <algorithm>
#include <functional>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "alpa/base/random.hpp"

#include "case_file.hpp"

namespace alpa {
namespace {

using Line = std::vector<LineOperator>;

Bytes cut_of(const Line& line, LayerBlock block) {
  std::set<int> read;
  for (int i = block.begin; i < block.end; ++i) {
    for (const int input : line[static_cast<std::size_t>(i)].inputs) {
      if (input < block.begin) read.insert(input);
    }
  }
  Bytes cut;
  for (const int input : read) cut += line[static_cast<std::size_t>(input)].output;
  return cut;
}

/// The rule in the header's words: each heavy operator of the block is looked at on its own.
bool balanced(const Line& line, LayerBlock block, int layers, double slack) {
  double all = 0.0;
  int heavy = 0;
  for (const LineOperator& op : line) {
    all += op.heavy ? op.flops.value : 0.0;
    heavy += op.heavy ? 1 : 0;
  }
  const double bound = (1.0 + slack) * all / layers;
  const int low = std::min(3, heavy / layers);
  std::vector<double> reached;  // FLOPs after each heavy operator
  for (int i = block.begin; i < block.end; ++i) {
    const LineOperator& op = line[static_cast<std::size_t>(i)];
    if (op.heavy) reached.push_back((reached.empty() ? 0.0 : reached.back()) + op.flops.value);
  }
  const int count = static_cast<int>(reached.size());
  if (count < low) return !reached.empty() && reached.back() >= bound;
  if (count == low) return true;
  return slack == 0.0 ? reached.back() <= bound : reached.back() < bound;
}

void for_each_clustering(int operators, int layers,
                         const std::function<void(const std::vector<LayerBlock>&)>& visit) {
  std::vector<LayerBlock> blocks;
  const std::function<void(int)> from = [&](int begin) {
    if (static_cast<int>(blocks.size()) == layers) {
      if (begin == operators) visit(blocks);
      return;
    }
    for (int end = begin + 1; end <= operators; ++end) {
      blocks.push_back({begin, end});
      from(end);
      blocks.pop_back();
    }
  };
  from(0);
}

std::optional<Clustering> enumerate(const Line& line, int layers, double slack) {
  std::optional<Clustering> best;
  for_each_clustering(static_cast<int>(line.size()), layers,
                      [&](const std::vector<LayerBlock>& blocks) {
                        Clustering found{.layers = blocks};
                        for (const LayerBlock& block : blocks) {
                          if (!balanced(line, block, layers, slack)) return;
                          found.largest_cut = std::max(found.largest_cut, cut_of(line, block));
                          found.total_cut += cut_of(line, block);
                        }
                        if (!best || std::tie(found.largest_cut, found.total_cut) <
                                         std::tie(best->largest_cut, best->total_cut)) {
                          best = found;
                        }
                      });
  return best;
}

TEST(Clustering, EqualsEnumeration) {
  int feasible = 0;
  for (std::uint64_t number = 0; number < 1500; ++number) {
    std::uint64_t drawn = 0;
    const auto draw = [&](int n) { return static_cast<int>(n * uniform(3, number, drawn++)); };
    Line line(static_cast<std::size_t>(1 + draw(12)));
    for (int i = 0; i < static_cast<int>(line.size()); ++i) {
      LineOperator& op = line[static_cast<std::size_t>(i)];
      op.heavy = draw(3) > 0;
      op.flops = {static_cast<double>(op.heavy ? 1 + draw(3) : 0)};
      op.output = {draw(4)};
      for (int n = i > 0 ? draw(4) : 0; n > 0; --n) op.inputs.push_back(draw(i));
    }
    const int layers = 1 + draw(5);
    const double slack = 0.2 * draw(6);
    const auto best = enumerate(line, layers, slack);
    const auto found = cluster_layers(line, layers, slack);
    ASSERT_EQ(found.has_value(), best.has_value()) << number;
    if (!found) continue;
    ++feasible;
    EXPECT_EQ(found->largest_cut, best->largest_cut) << number;
    EXPECT_EQ(found->total_cut, best->total_cut) << number;
    EXPECT_EQ(found->layers, best->layers) << number;
  }
  EXPECT_GT(feasible, 500);
  EXPECT_LT(feasible, 1400);
}

/// `layers` equal layers: products joined by light operators that hand on more bytes than the last
/// product of the layer does.
Line equal_layers(int layers, int products) {
  Line line;
  for (int layer = 0; layer < layers; ++layer) {
    for (int product = 0; product < products; ++product) {
      const bool last = product + 1 == products;
      for (const bool heavy : {true, false}) {
        LineOperator op{.flops = {heavy ? 1e9 / 3.0 : 0.0}, .heavy = heavy, .output = {8}};
        if (!heavy && last) op.output = {1};
        if (!line.empty()) op.inputs = {static_cast<int>(line.size()) - 1};
        line.push_back(op);
      }
    }
  }
  return line;
}

TEST(Clustering, EqualLayersNeedNoSlack) {
  for (const int products : {1, 2, 3, 4, 6, 12}) {
    for (const int layers : {1, 2, 3, 7, 12, 48}) {
      const auto found = cluster_layers(equal_layers(layers, products), layers, 0.0);
      ASSERT_TRUE(found) << layers << " layers of " << products;
      for (int i = 0; i < layers; ++i) {
        const LayerBlock whole = {2 * products * i, 2 * products * (i + 1)};
        EXPECT_EQ(found->layers.at(static_cast<std::size_t>(i)), whole)
            << layers << ' ' << products;
      }
      EXPECT_EQ(found->total_cut, Bytes{layers - 1});
    }
  }
}

TEST(Clustering, NoLayerIsDropped) {
  const Line line = equal_layers(1, 2);
  const auto found = cluster_layers(line, 4, 3.0);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->layers.size(), 4U);
  EXPECT_FALSE(cluster_layers(line, 5, 3.0));  // more layers than operators
  EXPECT_FALSE(cluster_layers({}, 1, 0.0));
}

TEST(ClusteringDeathTest, InputsComeFirst) {
  EXPECT_DEATH((void)cluster_layers({{.inputs = {0}}}, 1, 0.0), "input");
}

TEST(Clustering, ProvenCases) {
  const auto cases = read_cases("clusters.txt");
  EXPECT_EQ(cases.size(), 4U);
  for (const CaseText& text : cases) {
    const auto sizes = words(text.lines.at(0));
    const auto optima = words(text.lines.at(1));
    Line line;
    for (std::size_t at = 2; at < text.lines.size(); ++at) {
      const auto fields = words(text.lines[at]);
      LineOperator op{.flops = {std::stod(fields.at(0))},
                      .heavy = fields.at(1) == "1",
                      .output = {std::stoll(fields.at(2))}};
      for (std::size_t i = 3; i < fields.size(); ++i) op.inputs.push_back(std::stoi(fields[i]));
      line.push_back(op);
    }
    ASSERT_EQ(line.size(), std::stoul(sizes.at(0))) << text.name;
    const auto found = cluster_layers(line, std::stoi(sizes.at(1)), std::stod(sizes.at(2)));
    const auto largest = optimum(optima.at(0));
    ASSERT_EQ(found.has_value(), largest.has_value()) << text.name;
    if (!found) continue;
    EXPECT_EQ(static_cast<double>(found->largest_cut.value), *largest) << text.name;
    EXPECT_EQ(static_cast<double>(found->total_cut.value), *optimum(optima.at(1))) << text.name;
  }
}

}  // namespace
}  // namespace alpa
