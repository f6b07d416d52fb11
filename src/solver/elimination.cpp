// Variable elimination: nodes go one by one, each leaving a table over its neighbours.
#include <algorithm>
#include <alpa/base/error.hpp>
#include <iterator>
#include <utility>

#include "core_solvers.hpp"

namespace alpa {
namespace {

/// Costs over the options of several nodes, row-major in the order of `nodes`.
struct Table {
  std::vector<int> nodes;
  std::vector<double> costs;
};

/// The option an eliminated node takes, given those of `given`.
struct Decision {
  int node;
  std::vector<int> given;
  std::vector<int> option;  ///< row-major over the options of `given`
};

std::size_t options_of(const Core& core, int node) {
  return core.nodes[static_cast<std::size_t>(node)].costs.size();
}

/// Nodes in the order in which they go, smallest table first; empty if one exceeds the limit.
std::optional<std::vector<int>> elimination_order(const Core& core, std::int64_t limit) {
  std::vector<std::vector<int>> around(core.nodes.size());  // ascending
  for (const Problem::Edge& edge : core.edges) {
    around[static_cast<std::size_t>(edge.first)].push_back(edge.second);
    around[static_cast<std::size_t>(edge.second)].push_back(edge.first);
  }
  const auto entries = [&](int node) {
    auto product = static_cast<double>(options_of(core, node));
    for (const int other : around[static_cast<std::size_t>(node)]) {
      product *= static_cast<double>(options_of(core, other));
    }
    return product;
  };
  std::vector<std::pair<double, int>> waiting;
  for (int i = 0; i < static_cast<int>(core.nodes.size()); ++i) {
    std::sort(around[static_cast<std::size_t>(i)].begin(),
              around[static_cast<std::size_t>(i)].end());
    waiting.emplace_back(entries(i), i);
  }
  std::vector<int> order, joined;
  while (!waiting.empty()) {
    const auto next = std::min_element(waiting.begin(), waiting.end());
    const auto [size, node] = *next;
    if (size > static_cast<double>(limit)) {
      return std::nullopt;
    }
    order.push_back(node);
    *next = waiting.back();
    waiting.pop_back();
    const std::vector<int> neighbours = std::move(around[static_cast<std::size_t>(node)]);
    for (const int i : neighbours) {
      std::vector<int>& mine = around[static_cast<std::size_t>(i)];
      joined.clear();
      std::set_union(mine.begin(), mine.end(), neighbours.begin(), neighbours.end(),
                     std::back_inserter(joined));
      std::erase_if(joined, [&](int other) { return other == i || other == node; });
      mine = joined;
    }
    for (auto& [entries_left, i] : waiting) {
      if (std::binary_search(neighbours.begin(), neighbours.end(), i)) entries_left = entries(i);
    }
  }
  return order;
}

/// Visits all tuples of options of `nodes`, the last fastest, with the offset of each in `table`.
class Walk {
 public:
  Walk(const Core& core, const std::vector<int>& nodes, const Table& table)
      : steps_(nodes.size(), 0) {
    std::size_t stride = 1;
    for (std::size_t k = table.nodes.size(); k-- > 0;) {
      const auto place = std::find(nodes.begin(), nodes.end(), table.nodes[k]) - nodes.begin();
      steps_[static_cast<std::size_t>(place)] = stride;
      stride *= options_of(core, table.nodes[k]);
    }
  }
  /// The digit `k` of the tuple went up by one.
  void up(std::size_t k) { offset_ += steps_[k]; }
  /// The digit `k` went from `last` back to zero.
  void reset(std::size_t k, std::size_t last) { offset_ -= steps_[k] * last; }
  [[nodiscard]] std::size_t offset() const { return offset_; }
  /// From one option of the last node to the next.
  [[nodiscard]] std::size_t last_step() const { return steps_.back(); }

 private:
  std::vector<std::size_t> steps_;
  std::size_t offset_ = 0;
};

/// Sum of `parts` as one table over `nodes`, row by row of the last node's options.
std::vector<double> sum_over(const Core& core, const std::vector<int>& nodes,
                             const std::vector<Table>& parts) {
  std::vector<Walk> walks;
  walks.reserve(parts.size());
  for (const Table& part : parts) {
    walks.emplace_back(core, nodes, part);
  }
  std::size_t size = 1;
  for (const int node : nodes) {
    size *= options_of(core, node);
  }
  std::vector<double> sum(size, 0.0);
  std::vector<std::size_t> digits(nodes.size(), 0);
  const std::size_t last = options_of(core, nodes.back());
  for (std::size_t row = 0; row < size; row += last) {
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const double* costs = parts[k].costs.data() + walks[k].offset();
      const std::size_t step = walks[k].last_step();
      for (std::size_t i = 0; i < last; ++i) sum[row + i] += costs[i * step];
    }
    for (std::size_t d = nodes.size() - 1; d-- > 0;) {
      if (digits[d] + 1 < options_of(core, nodes[d])) {
        ++digits[d];
        for (Walk& walk : walks) {
          walk.up(d);
        }
        break;
      }
      for (Walk& walk : walks) {
        walk.reset(d, digits[d]);
      }
      digits[d] = 0;
    }
  }
  return sum;
}

/// Tables, those that are gone left empty, and for each node where it has some.
struct Tables {
  std::vector<Table> all;
  std::vector<std::vector<std::size_t>> of_node;
  void add(Table table) {
    for (const int node : table.nodes)
      of_node[static_cast<std::size_t>(node)].push_back(all.size());
    all.push_back(std::move(table));
  }
};

/// Takes `node` out of the tables; leaves one table over its neighbours and a decision.
Decision eliminate(const Core& core, int node, Tables& tables) {
  const std::vector<std::size_t>& its = tables.of_node[static_cast<std::size_t>(node)];
  std::vector<Table> parts;
  std::vector<int> nodes;  // around it, ascending
  parts.reserve(its.size());
  nodes.reserve(2 * its.size());
  for (const std::size_t t : its) {
    if (tables.all[t].costs.empty()) continue;
    Table& part = parts.emplace_back(std::exchange(tables.all[t], {}));
    nodes.insert(nodes.end(), part.nodes.begin(), part.nodes.end());
  }
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  std::erase(nodes, node);
  Decision decision{node, nodes, {}};
  Table left{nodes, {}};
  nodes.push_back(node);
  const std::vector<double> sum = sum_over(core, nodes, parts);
  const std::size_t options = options_of(core, node);
  left.costs.reserve(sum.size() / options);
  decision.option.reserve(sum.size() / options);
  for (auto row = sum.begin(); row != sum.end(); row += static_cast<std::ptrdiff_t>(options)) {
    const auto best = std::min_element(row, row + static_cast<std::ptrdiff_t>(options));
    left.costs.push_back(*best);
    decision.option.push_back(static_cast<int>(best - row));
  }
  tables.add(std::move(left));
  return decision;
}

}  // namespace

std::optional<CoreAnswer> solve_by_elimination(const Core& core, const SolveLimits& limits) {
  if (!core.capacities.empty()) {
    return std::nullopt;
  }
  const auto order = elimination_order(core, limits.table_entries);
  if (!order) {
    return std::nullopt;
  }
  Tables tables{{}, std::vector<std::vector<std::size_t>>(core.nodes.size())};
  for (int i = 0; i < static_cast<int>(core.nodes.size()); ++i) {
    tables.add({{i}, core.nodes[static_cast<std::size_t>(i)].costs});
  }
  for (const Problem::Edge& edge : core.edges) {
    tables.add({{edge.first, edge.second}, edge.costs});
  }
  std::vector<Decision> decisions;
  for (const int node : *order) {
    if (limits.stop.stop_requested()) {
      return std::nullopt;
    }
    decisions.push_back(eliminate(core, node, tables));
  }
  double cost = core.constant;
  for (const Table& table : tables.all) {
    if (!table.costs.empty()) cost += table.costs[0];
  }
  if (!(cost < kForbidden)) {
    return CoreAnswer{.choice = {}, .cost = kForbidden, .lower_bound = kForbidden};
  }
  std::vector<int> choice(core.nodes.size(), 0);
  for (auto decision = decisions.rbegin(); decision != decisions.rend(); ++decision) {
    std::size_t entry = 0;
    for (const int node : decision->given) {
      entry = entry * options_of(core, node) +
              static_cast<std::size_t>(choice[static_cast<std::size_t>(node)]);
    }
    choice[static_cast<std::size_t>(decision->node)] = decision->option[entry];
  }
  cost = core_cost(core, choice);
  return CoreAnswer{.choice = std::move(choice), .cost = cost, .lower_bound = cost};
}

}  // namespace alpa
