#include "integer_program.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace alpa {
namespace {

/// Costs are scaled so that the largest lies between these: the solver's tolerances are absolute.
constexpr double kLargestCost = 1e5;
constexpr double kFinestCost = 1e7;

double largest_spread(const Core& core) {
  double most = 0.0;
  const auto look = [&most](const std::vector<double>& costs) {
    double low = kForbidden;
    double high = -kForbidden;
    for (const double cost : costs) {
      if (cost < kForbidden) {
        low = std::min(low, cost);
        high = std::max(high, cost);
      }
    }
    most = high > low ? std::max(most, high - low) : most;
  };
  for (const Core::Node& node : core.nodes) {
    look(node.costs);
  }
  for (const Problem::Edge& edge : core.edges) {
    look(edge.costs);
  }
  return most;
}

/// A memory row in units in which all amounts are whole; the half a unit keeps rounding apart.
struct MemoryRow {
  double unit = 1.0;
  double limit = 0.0;
};

std::vector<MemoryRow> memory_rows(const Core& core) {
  std::vector<std::int64_t> divisors(core.capacities.size(), 0);
  for (const Core::Node& node : core.nodes) {
    for (const Core::Term& term : node.terms) {
      std::int64_t common = 0;
      for (const std::int64_t amount : term.amounts) {
        common = std::gcd(common, amount);
      }
      for (int t = term.begin; t < term.end; ++t) {
        std::int64_t& divisor = divisors[static_cast<std::size_t>(t)];
        divisor = std::gcd(divisor, common);
      }
    }
  }
  std::vector<MemoryRow> rows;
  for (std::size_t t = 0; t < divisors.size(); ++t) {
    const std::int64_t unit = std::max<std::int64_t>(divisors[t], 1);
    const auto limit = static_cast<double>(core.capacities[t] / unit) + 0.5;
    // Rows of many units are scaled down; an answer is checked exactly all the same.
    const double shrink = std::max(1.0, limit / 1e6);
    rows.push_back({static_cast<double>(unit) * shrink, limit / shrink});
  }
  return rows;
}

struct Builder {
  IntegerProgram program;

  int add_row(double lower, double upper) {
    program.row_lower.push_back(lower);
    program.row_upper.push_back(upper);
    return static_cast<int>(program.row_lower.size()) - 1;
  }
  void entry(int row, double value) {
    program.rows.push_back(row);
    program.values.push_back(value);
  }
  void end_column(double cost) {
    program.objective.push_back(cost);
    program.starts.push_back(static_cast<int>(program.rows.size()));
  }
};

std::size_t options_of(const Core& core, int node) {
  return core.nodes[static_cast<std::size_t>(node)].costs.size();
}

}  // namespace

std::int64_t program_columns(const Core& core) {
  std::int64_t columns = 0;
  for (const Core::Node& node : core.nodes) {
    columns += static_cast<std::int64_t>(node.costs.size());
  }
  for (const Problem::Edge& edge : core.edges) {
    columns += std::count_if(edge.costs.begin(), edge.costs.end(),
                             [](double cost) { return cost < kForbidden; });
  }
  return columns;
}

IntegerProgram integer_program(const Core& core, double unit) {
  Builder builder;
  IntegerProgram& program = builder.program;
  program.starts.push_back(0);
  program.offset = core.constant;
  const double spread = std::max(largest_spread(core), 1e-290);
  program.scale = std::clamp(unit, spread / kFinestCost, spread / kLargestCost);
  const std::vector<MemoryRow> memory = memory_rows(core);
  std::vector<int> one_option;
  for (std::size_t i = 0; i < core.nodes.size(); ++i) {
    one_option.push_back(builder.add_row(1.0, 1.0));
  }
  const int first_memory = static_cast<int>(program.row_lower.size());
  for (const MemoryRow& row : memory) {
    builder.add_row(-kForbidden, row.limit);
  }
  // Rows of the marginals: for each edge one for each option of either end.
  std::vector<int> first_rows;
  std::vector<std::vector<std::pair<int, bool>>> ends(core.nodes.size());
  for (std::size_t e = 0; e < core.edges.size(); ++e) {
    const Problem::Edge& edge = core.edges[e];
    first_rows.push_back(static_cast<int>(program.row_lower.size()));
    const std::size_t count = options_of(core, edge.first) + options_of(core, edge.second);
    for (std::size_t k = 0; k < count; ++k) {
      builder.add_row(0.0, 0.0);
    }
    ends[static_cast<std::size_t>(edge.first)].emplace_back(static_cast<int>(e), true);
    ends[static_cast<std::size_t>(edge.second)].emplace_back(static_cast<int>(e), false);
  }
  std::vector<double> used(core.capacities.size(), 0.0);
  for (std::size_t i = 0; i < core.nodes.size(); ++i) {
    const Core::Node& node = core.nodes[i];
    program.first_of_node.push_back(program.columns());
    const double least = *std::min_element(node.costs.begin(), node.costs.end());
    program.offset += least;
    for (std::size_t p = 0; p < node.costs.size(); ++p) {
      builder.entry(one_option[i], 1.0);
      for (const Core::Term& term : node.terms) {
        for (int t = term.begin; t < term.end; ++t) {
          used[static_cast<std::size_t>(t)] += static_cast<double>(term.amounts[p]);
        }
      }
      for (const Core::Term& term : node.terms) {
        for (int t = term.begin; t < term.end; ++t) {
          double& amount = used[static_cast<std::size_t>(t)];
          if (amount > 0.0) {
            builder.entry(first_memory + t, amount / memory[static_cast<std::size_t>(t)].unit);
            amount = 0.0;
          }
        }
      }
      for (const auto& [e, first] : ends[i]) {
        const auto index = static_cast<std::size_t>(e);
        const std::size_t before = first ? 0 : options_of(core, core.edges[index].first);
        builder.entry(first_rows[index] + static_cast<int>(before + p), -1.0);
      }
      builder.end_column((node.costs[p] - least) / program.scale);
    }
  }
  program.binaries = program.columns();
  for (std::size_t e = 0; e < core.edges.size(); ++e) {
    const Problem::Edge& edge = core.edges[e];
    const std::size_t rows = options_of(core, edge.first);
    const std::size_t columns = options_of(core, edge.second);
    const double least = *std::min_element(edge.costs.begin(), edge.costs.end());
    program.offset += least;
    for (std::size_t p = 0; p < rows; ++p) {
      for (std::size_t q = 0; q < columns; ++q) {
        if (edge.costs[p * columns + q] < kForbidden) {
          builder.entry(first_rows[e] + static_cast<int>(p), 1.0);
          builder.entry(first_rows[e] + static_cast<int>(rows + q), 1.0);
          builder.end_column((edge.costs[p * columns + q] - least) / program.scale);
        }
      }
    }
  }
  return builder.program;
}

std::vector<double> columns_of(const Core& core, const IntegerProgram& program,
                               const std::vector<int>& choice) {
  std::vector<double> values(static_cast<std::size_t>(program.columns()), 0.0);
  for (std::size_t i = 0; i < choice.size(); ++i) {
    values[static_cast<std::size_t>(program.first_of_node[i] + choice[i])] = 1.0;
  }
  std::size_t column = static_cast<std::size_t>(program.binaries);
  for (const Problem::Edge& edge : core.edges) {
    const std::size_t width = options_of(core, edge.second);
    const auto chosen =
        static_cast<std::size_t>(choice[static_cast<std::size_t>(edge.first)]) * width +
        static_cast<std::size_t>(choice[static_cast<std::size_t>(edge.second)]);
    for (std::size_t k = 0; k < edge.costs.size(); ++k) {
      if (edge.costs[k] < kForbidden) {
        values[column++] = k == chosen ? 1.0 : 0.0;
      }
    }
  }
  return values;
}

}  // namespace alpa
