#include "alpa/inter_op/clustering.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

constexpr std::int64_t kUnreached = std::numeric_limits<std::int64_t>::max();

/// Sums of FLOPs beyond 2^53 are rounded: equal layers differ by less than this share.
constexpr double kRounding = 1e-9;

/// What makes a block balanced; see cluster_layers.
struct Balance {
  int low = 3;         ///< heavy operators
  double least = 0.0;  ///< FLOPs that are enough for a block of fewer
  double most = 0.0;   ///< FLOPs that are too much for a block of more

  [[nodiscard]] bool too_much(int heavy, double flops) const {
    return heavy > low && flops >= most;
  }
  [[nodiscard]] bool enough(int heavy, double flops) const {
    return heavy >= low || flops >= least;
  }
};

Balance balance_of(const std::vector<LineOperator>& operators, int layers, double slack) {
  double flops = 0.0;
  int heavy = 0;
  for (const LineOperator& op : operators) {
    if (!op.heavy) continue;
    flops += op.flops.value;
    ++heavy;
  }
  const double bound = (1.0 + slack) * flops / layers;
  const double rounding = slack == 0.0 ? kRounding * bound : 0.0;
  return {.low = std::min(3, heavy / layers), .least = bound - rounding, .most = bound + rounding};
}

void check_line(const std::vector<LineOperator>& operators) {
  for (std::size_t i = 0; i < operators.size(); ++i) {
    const LineOperator& op = operators[i];
    ALPA_CHECK(op.flops.value >= 0.0 && op.output.value >= 0);
    for (const int input : op.inputs) {
      ALPA_CHECK(input >= 0 && static_cast<std::size_t>(input) < i);
    }
  }
}

/// A balanced block from a given operator on.
struct Block {
  std::size_t end;
  std::int64_t cut;  ///< bytes
};

using Blocks = std::vector<std::vector<Block>>;  ///< by first operator, shortest block first

Blocks balanced_blocks(const std::vector<LineOperator>& operators, const Balance& balance) {
  Blocks blocks(operators.size());
  std::vector<std::size_t> last_reader(operators.size(),
                                       operators.size());  // a block, by its begin
  for (std::size_t begin = 0; begin < operators.size(); ++begin) {
    std::int64_t cut = 0;
    double flops = 0.0;
    int heavy = 0;
    for (std::size_t end = begin + 1; end <= operators.size(); ++end) {
      const LineOperator& op = operators[end - 1];
      for (const int input : op.inputs) {
        const auto producer = static_cast<std::size_t>(input);
        if (producer >= begin || last_reader[producer] == begin) continue;
        last_reader[producer] = begin;
        cut += operators[producer].output.value;
      }
      if (op.heavy) {
        flops += op.flops.value;
        if (balance.too_much(++heavy, flops)) break;
      }
      if (balance.enough(heavy, flops)) blocks[begin].push_back({end, cut});
    }
  }
  return blocks;
}

/// Least largest cut of `layers` blocks that cover everything; kUnreached if there are none.
std::int64_t least_largest_cut(const Blocks& blocks, int layers) {
  std::vector<std::int64_t> rest(blocks.size() + 1, kUnreached);  // by first operator
  rest.back() = 0;
  for (int layer = 0; layer < layers; ++layer) {
    std::vector<std::int64_t> cuts(blocks.size() + 1, kUnreached);
    for (std::size_t begin = 0; begin < blocks.size(); ++begin) {
      for (const Block& block : blocks[begin]) {
        cuts[begin] = std::min(cuts[begin], std::max(block.cut, rest[block.end]));
      }
    }
    rest = std::move(cuts);
  }
  return rest.front();
}

/// The clustering of least total cut among those without a cut above `cap`, of which there are
/// some.
Clustering least_total_cut(const Blocks& blocks, int layers, std::int64_t cap) {
  const std::size_t width = blocks.size() + 1;
  const auto rows = static_cast<std::size_t>(layers) + 1;
  std::vector<std::int64_t> total(rows * width, kUnreached);  // (blocks left, first operator)
  std::vector<Block> first(rows * width, Block{0, 0});
  total[width - 1] = 0;
  for (std::size_t row = 1; row < rows; ++row) {
    for (std::size_t begin = 0; begin < blocks.size(); ++begin) {
      const std::size_t at = row * width + begin;
      for (const Block& block : blocks[begin]) {
        const std::int64_t rest = total[(row - 1) * width + block.end];
        if (block.cut > cap || rest == kUnreached || block.cut + rest >= total[at]) continue;
        total[at] = block.cut + rest;
        first[at] = block;
      }
    }
  }
  Clustering clustering{.largest_cut = {cap}, .total_cut = {total[(rows - 1) * width]}};
  std::size_t begin = 0;
  for (std::size_t row = rows - 1; row > 0; --row) {
    const std::size_t end = first[row * width + begin].end;
    clustering.layers.push_back({static_cast<int>(begin), static_cast<int>(end)});
    begin = end;
  }
  return clustering;
}

}  // namespace

std::optional<Clustering> cluster_layers(const std::vector<LineOperator>& operators, int layers,
                                         double slack) {
  ALPA_CHECK(layers >= 1 && slack >= 0.0);
  check_line(operators);
  if (operators.size() < static_cast<std::size_t>(layers)) return std::nullopt;
  const Blocks blocks = balanced_blocks(operators, balance_of(operators, layers, slack));
  const std::int64_t cap = least_largest_cut(blocks, layers);
  if (cap == kUnreached) return std::nullopt;
  return least_total_cut(blocks, layers, cap);
}

}  // namespace alpa
