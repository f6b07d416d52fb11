#include <algorithm>
#include <alpa/base/error.hpp>
#include <alpa/solver/problem.hpp>
#include <string>
#include <utility>

namespace alpa {
namespace {

constexpr std::int64_t kLargestSum = std::int64_t{1} << 62;

void refuse(const std::string& where, const std::string& found) {
  throw PlanError("solver problem, " + where + ": " + found);
}

/// A node or an edge, named only when something is wrong with it.
struct Place {
  const char* kind;
  std::size_t number;
  [[nodiscard]] std::string name() const { return kind + (' ' + std::to_string(number)); }
};

void validate_costs(const std::vector<double>& costs, const Place& place) {
  const auto wrong =
      std::find_if(costs.begin(), costs.end(), [](double cost) { return !(cost > -kForbidden); });
  if (wrong == costs.end()) return;
  refuse(place.name(), "a cost is " + std::to_string(*wrong) + ", expected a number or +infinity");
}

void validate_usage(const Usage& usage, std::size_t options, const Place& place,
                    std::int64_t& sum) {
  if (usage.amounts.size() != options) {
    refuse(place.name(), std::to_string(usage.amounts.size()) + " usages for " +
                             std::to_string(options) + " options");
  }
  std::int64_t most = 0;
  for (const std::int64_t amount : usage.amounts) {
    if (amount < 0) {
      refuse(place.name(), "a usage is " + std::to_string(amount) + ", expected >= 0");
    }
    most = std::max(most, amount);
  }
  if (most > kLargestSum - sum) {
    refuse(place.name(), "the sum of all usages exceeds 2^62: use a larger unit");
  }
  sum += most;
}

/// Number of classes of a node's options.
std::size_t validate_classes(const std::vector<std::int32_t>& classes, std::size_t options,
                             const Place& place) {
  if (classes.empty()) return options;
  if (classes.size() != options) {
    refuse(place.name(),
           std::to_string(classes.size()) + " classes of " + std::to_string(options) + " options");
  }
  std::int32_t next = 0;
  for (const std::int32_t c : classes) {
    if (c < 0 || c > next) {
      refuse(place.name(),
             "class " + std::to_string(c) + ", expected at most the next, " + std::to_string(next));
    }
    next = std::max(next, c + 1);
  }
  return static_cast<std::size_t>(next);
}

}  // namespace

double pair_cost(const Problem& problem, const Problem::Edge& edge, std::size_t p, std::size_t q) {
  const auto& rows = edge.first_classes;
  const auto& columns = edge.second_classes;
  const std::size_t width =
      columns.empty()
          ? problem.nodes[static_cast<std::size_t>(edge.second)].costs.size()
          : static_cast<std::size_t>(*std::max_element(columns.begin(), columns.end())) + 1;
  const std::size_t row = rows.empty() ? p : static_cast<std::size_t>(rows[p]);
  const std::size_t column = columns.empty() ? q : static_cast<std::size_t>(columns[q]);
  return edge.costs[row * width + column];
}

void validate(const Problem& problem) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < problem.nodes.size(); ++i) {
    const Place where{"node", i};
    const Problem::Node& node = problem.nodes[i];
    validate_costs(node.costs, where);
    for (const Usage& usage : node.usages) {
      validate_usage(usage, node.costs.size(), where, sum);
    }
  }
  const int count = static_cast<int>(problem.nodes.size());
  for (std::size_t e = 0; e < problem.edges.size(); ++e) {
    const Place where{"edge", e};
    const Problem::Edge& edge = problem.edges[e];
    if (edge.first < 0 || edge.first >= count || edge.second < 0 || edge.second >= count) {
      refuse(where.name(), "joins nodes " + std::to_string(edge.first) + " and " +
                               std::to_string(edge.second) + " of " + std::to_string(count));
    }
    const auto options = [&](int node) {
      return problem.nodes[static_cast<std::size_t>(node)].costs.size();
    };
    const std::size_t expected = validate_classes(edge.first_classes, options(edge.first), where) *
                                 validate_classes(edge.second_classes, options(edge.second), where);
    if (edge.costs.size() != expected) {
      refuse(where.name(),
             std::to_string(edge.costs.size()) + " costs, expected " + std::to_string(expected));
    }
    validate_costs(edge.costs, where);
  }
}

void add_hyper_edge(Problem& problem, std::span<const int> nodes, std::span<const double> costs) {
  std::size_t tuples = 1;
  for (const int node : nodes) {
    if (node < 0 || node >= static_cast<int>(problem.nodes.size())) {
      refuse("hyper-edge",
             "names node " + std::to_string(node) + " of " + std::to_string(problem.nodes.size()));
    }
    tuples *= problem.nodes[static_cast<std::size_t>(node)].costs.size();
  }
  if (tuples != costs.size()) {
    refuse("hyper-edge",
           std::to_string(costs.size()) + " costs, expected " + std::to_string(tuples));
  }
  Problem::Node joint;
  std::vector<std::size_t> allowed;
  for (std::size_t t = 0; t < tuples; ++t) {
    if (costs[t] < kForbidden) {
      joint.costs.push_back(costs[t]);
      allowed.push_back(t);
    }
  }
  const int added = static_cast<int>(problem.nodes.size());
  std::size_t stride = tuples;
  for (const int node : nodes) {
    const std::size_t options = problem.nodes[static_cast<std::size_t>(node)].costs.size();
    stride = options == 0 ? 0 : stride / options;
    Problem::Edge tie{added, node, std::vector<double>(allowed.size() * options, kForbidden)};
    for (std::size_t a = 0; a < allowed.size(); ++a) {
      tie.costs[a * options + allowed[a] / stride % options] = 0.0;
    }
    problem.edges.push_back(std::move(tie));
  }
  problem.nodes.push_back(std::move(joint));
}

Score score(const Problem& problem, std::span<const int> choice) {
  ALPA_CHECK(choice.size() == problem.nodes.size());
  Score result;
  std::vector<std::pair<std::int64_t, std::int64_t>> changes;  // time, what is added then
  for (std::size_t i = 0; i < choice.size(); ++i) {
    const Problem::Node& node = problem.nodes[i];
    const auto option = static_cast<std::size_t>(choice[i]);
    ALPA_CHECK(choice[i] >= 0 && option < node.costs.size());
    result.cost += node.costs[option];
    for (const Usage& usage : node.usages) {
      if (usage.begin < usage.end) {
        changes.emplace_back(usage.begin, usage.amounts[option]);
        changes.emplace_back(usage.end, -usage.amounts[option]);
      }
    }
  }
  for (const Problem::Edge& edge : problem.edges) {
    const auto p = static_cast<std::size_t>(choice[static_cast<std::size_t>(edge.first)]);
    const auto q = static_cast<std::size_t>(choice[static_cast<std::size_t>(edge.second)]);
    result.cost += pair_cost(problem, edge, p, q);
  }
  std::sort(changes.begin(), changes.end());  // what ends at a time is taken off first
  std::int64_t now = 0;
  for (const auto& [time, amount] : changes) {
    now += amount;
    result.peak = std::max(result.peak, now);
  }
  result.fits = !problem.usage_limit || result.peak <= *problem.usage_limit;
  return result;
}

}  // namespace alpa
