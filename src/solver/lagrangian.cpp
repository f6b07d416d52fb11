#include "lagrangian.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace alpa {
namespace {

/// Least a[i] + b[i]; in four strands, which do not wait for each other.
double least_sum(const double* a, const double* b, std::size_t size) {
  std::array<double, 4> least{kForbidden, kForbidden, kForbidden, kForbidden};
  std::size_t i = 0;
  for (; i + 4 <= size; i += 4) {
    for (std::size_t k = 0; k < 4; ++k) least[k] = std::min(least[k], a[i + k] + b[i + k]);
  }
  for (; i < size; ++i) least[0] = std::min(least[0], a[i] + b[i]);
  return std::min(std::min(least[0], least[1]), std::min(least[2], least[3]));
}

/// least[i] = min(least[i], a[i] + b)
void take_least(const double* a, double b, std::vector<double>& least) {
  double* values = least.data();
  for (std::size_t i = 0; i < least.size(); ++i) values[i] = std::min(values[i], a[i] + b);
}

}  // namespace

Lagrangian::Lagrangian(const Core& core)
    : core_(core),
      before_(core.nodes.size()),
      after_(core.nodes.size()),
      prices_(core.capacities.size(), 0.0),
      labels_(core.nodes.size(), 0) {
  for (const Core::Node& node : core.nodes) {
    node_costs_.push_back(node.costs);
  }
  for (std::size_t e = 0; e < core.edges.size(); ++e) {
    const Problem::Edge& edge = core.edges[e];
    first_shares_.emplace_back(core.nodes[static_cast<std::size_t>(edge.first)].costs.size(), 0.0);
    second_shares_.emplace_back(core.nodes[static_cast<std::size_t>(edge.second)].costs.size(),
                                0.0);
    least_of_edge_.push_back(*std::min_element(edge.costs.begin(), edge.costs.end()));
    const int index = static_cast<int>(e);
    auto& of_first = edge.first < edge.second ? after_ : before_;
    auto& of_second = edge.first < edge.second ? before_ : after_;
    of_first[static_cast<std::size_t>(edge.first)].push_back({index, edge.second, true});
    of_second[static_cast<std::size_t>(edge.second)].push_back({index, edge.first, false});
  }
}

void Lagrangian::set_prices(std::vector<double> prices) {
  prices_ = std::move(prices);
  std::vector<double> sums(prices_.size() + 1, 0.0);
  for (std::size_t t = 0; t < prices_.size(); ++t) {
    sums[t + 1] = sums[t] + prices_[t];
  }
  // All from the start, so that rounding does not pile up over thousands of sweeps.
  for (std::size_t i = 0; i < node_costs_.size(); ++i) {
    std::vector<double>& costs = node_costs_[i];
    costs = core_.nodes[i].costs;
    for (const Core::Term& term : core_.nodes[i].terms) {
      const double price =
          sums[static_cast<std::size_t>(term.end)] - sums[static_cast<std::size_t>(term.begin)];
      for (std::size_t p = 0; price > 0.0 && p < costs.size(); ++p) {
        costs[p] += price * static_cast<double>(term.amounts[p]);
      }
    }
    for (const auto* links : {&before_[i], &after_[i]}) {
      for (const Link& link : *links) {
        const auto e = static_cast<std::size_t>(link.edge);
        const std::vector<double>& share = link.first ? first_shares_[e] : second_shares_[e];
        for (std::size_t p = 0; p < costs.size(); ++p) {
          costs[p] -= share[p];
        }
      }
    }
  }
}

const std::vector<double>& Lagrangian::least_of_rest(const Link& link) const {
  const auto e = static_cast<std::size_t>(link.edge);
  const std::vector<double>& first = first_shares_[e];
  const std::vector<double>& second = second_shares_[e];
  const double* costs = core_.edges[e].costs.data();
  const std::size_t columns = second.size();
  if (link.first) {
    least_.resize(first.size());
    for (std::size_t row = 0; row < first.size(); ++row, costs += columns) {
      least_[row] = least_sum(costs, second.data(), columns);
    }
    return least_;
  }
  least_.assign(columns, kForbidden);
  for (std::size_t row = 0; row < first.size(); ++row, costs += columns) {
    take_least(costs, first[row], least_);
  }
  return least_;
}

void Lagrangian::absorb(int i, const Link& link) {
  std::vector<double>& costs = node_costs_[static_cast<std::size_t>(i)];
  const auto e = static_cast<std::size_t>(link.edge);
  std::vector<double>& share = link.first ? first_shares_[e] : second_shares_[e];
  const std::vector<double>& rest = least_of_rest(link);
  double left = kForbidden;
  for (std::size_t p = 0; p < costs.size(); ++p) {
    const double least = rest[p] + share[p];
    costs[p] += least;
    share[p] -= least;
    left = std::min(left, rest[p] + share[p]);
  }
  least_of_edge_[e] = left;
}

void Lagrangian::decode(int i, const std::vector<Link>& decided) {
  std::vector<double>& costs = decoded_;
  costs = node_costs_[static_cast<std::size_t>(i)];
  for (const Link& link : decided) {
    const auto e = static_cast<std::size_t>(link.edge);
    const auto q = static_cast<std::size_t>(labels_[static_cast<std::size_t>(link.other)]);
    const std::vector<double>& own = link.first ? first_shares_[e] : second_shares_[e];
    const double shared = (link.first ? second_shares_[e] : first_shares_[e])[q];
    const std::size_t columns = second_shares_[e].size();
    const double* entry = core_.edges[e].costs.data() + (link.first ? q : q * columns);
    const std::size_t step = link.first ? columns : 1;
    for (std::size_t p = 0; p < costs.size(); ++p) costs[p] += entry[p * step] + own[p] + shared;
  }
  labels_[static_cast<std::size_t>(i)] =
      static_cast<int>(std::min_element(costs.begin(), costs.end()) - costs.begin());
}

void Lagrangian::pass(bool forward) {
  const bool first = !std::exchange(passed_, true);
  const std::size_t count = node_costs_.size();
  for (std::size_t step = 0; step < count; ++step) {
    const std::size_t i = forward ? step : count - 1 - step;
    const std::vector<Link>& behind = forward ? before_[i] : after_[i];
    const std::vector<Link>& ahead = forward ? after_[i] : before_[i];
    if (!forward) {
      decode(static_cast<int>(i), behind);
    }
    for (const Link& link : behind) {
      absorb(static_cast<int>(i), link);
    }
    // What lies ahead was absorbed here by the pass before, and nothing was moved there since.
    for (std::size_t k = 0; first && k < ahead.size(); ++k) {
      absorb(static_cast<int>(i), ahead[k]);
    }
    // Chains through the node share its cost evenly; those that end here keep theirs.
    std::vector<double>& costs = node_costs_[i];
    const double part =
        1.0 / static_cast<double>(std::max({behind.size(), ahead.size(), std::size_t{1}}));
    const double least = *std::min_element(costs.begin(), costs.end());
    for (const Link& link : ahead) {
      const auto e = static_cast<std::size_t>(link.edge);
      std::vector<double>& share = link.first ? first_shares_[e] : second_shares_[e];
      for (std::size_t p = 0; p < costs.size(); ++p) {
        share[p] += part * (costs[p] - least);
      }
    }
    const double kept = 1.0 - part * static_cast<double>(ahead.size());
    for (double& cost : costs) {
      cost = least + kept * (cost - least);
    }
  }
}

double Lagrangian::sweep() {
  pass(true);
  pass(false);
  return bound();
}

double Lagrangian::bound() const {
  double sum = core_.constant;
  double magnitude = std::abs(sum);
  const auto add = [&](double value) {
    sum += value;
    magnitude += std::abs(value);
  };
  const auto largest = [](const std::vector<double>& values) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return std::max(std::abs(*low), std::abs(*high));
  };
  for (const std::vector<double>& costs : node_costs_) {
    add(*std::min_element(costs.begin(), costs.end()));
    magnitude += largest(costs);
  }
  for (std::size_t e = 0; e < least_of_edge_.size(); ++e) {
    add(least_of_edge_[e]);
    magnitude += 4.0 * (largest(first_shares_[e]) + largest(second_shares_[e]));
  }
  for (std::size_t t = 0; t < prices_.size(); ++t) {
    add(-prices_[t] * static_cast<double>(core_.capacities[t]));
  }
  return sum - 0x1p-52 * magnitude;  // rounding, of each entry and of their sum
}

std::vector<std::vector<double>> Lagrangian::option_bounds() const {
  const double all = bound();
  std::vector<std::vector<double>> result = node_costs_;
  for (std::size_t i = 0; i < result.size(); ++i) {
    double least = *std::min_element(node_costs_[i].begin(), node_costs_[i].end());
    for (const auto* links : {&before_[i], &after_[i]}) {
      for (const Link& link : *links) {
        const auto e = static_cast<std::size_t>(link.edge);
        const std::vector<double>& share = link.first ? first_shares_[e] : second_shares_[e];
        const std::vector<double>& rest = least_of_rest(link);
        double least_entry = kForbidden;
        for (std::size_t p = 0; p < rest.size(); ++p) {
          result[i][p] += rest[p] + share[p];
          least_entry = std::min(least_entry, rest[p] + share[p]);
        }
        least += least_entry;
      }
    }
    for (double& value : result[i]) {
      value += all - least;
    }
  }
  return result;
}

std::vector<std::vector<bool>> Lagrangian::useful_pairs(double wanted) const {
  const double all = bound();
  std::vector<std::vector<bool>> result;
  for (std::size_t e = 0; e < core_.edges.size(); ++e) {
    const Problem::Edge& edge = core_.edges[e];
    const std::vector<double>& first = node_costs_[static_cast<std::size_t>(edge.first)];
    const std::vector<double>& second = node_costs_[static_cast<std::size_t>(edge.second)];
    std::vector<double> costs = edge.costs;
    double least_pair = kForbidden;
    for (std::size_t p = 0, k = 0; p < first.size(); ++p) {
      for (std::size_t q = 0; q < second.size(); ++q, ++k) {
        costs[k] += first_shares_[e][p] + second_shares_[e][q];
        least_pair = std::min(least_pair, costs[k]);
      }
    }
    const double rest = all - least_pair - *std::min_element(first.begin(), first.end()) -
                        *std::min_element(second.begin(), second.end());
    std::vector<bool> useful(costs.size());
    for (std::size_t p = 0, k = 0; p < first.size(); ++p) {
      for (std::size_t q = 0; q < second.size(); ++q, ++k) {
        useful[k] = rest + costs[k] + first[p] + second[q] <= wanted;
      }
    }
    result.push_back(std::move(useful));
  }
  return result;
}

Core Lagrangian::reparametrized() const {
  Core core = core_;
  Lagrangian unpriced = *this;
  unpriced.set_prices(std::vector<double>(prices_.size(), 0.0));
  for (std::size_t i = 0; i < core.nodes.size(); ++i) {
    core.nodes[i].costs = unpriced.node_costs_[i];
  }
  for (std::size_t e = 0; e < core.edges.size(); ++e) {
    const std::size_t columns = second_shares_[e].size();
    std::vector<double>& costs = core.edges[e].costs;
    for (std::size_t k = 0; k < costs.size(); ++k) {
      costs[k] += first_shares_[e][k / columns] + second_shares_[e][k % columns];
    }
  }
  return core;
}

}  // namespace alpa
