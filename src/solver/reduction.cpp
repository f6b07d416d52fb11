#include <algorithm>
#include <alpa/base/error.hpp>
#include <utility>

#include "work_graph.hpp"

namespace alpa {

std::vector<std::int64_t> core_rows(const Core& core, std::span<const int> choice) {
  std::vector<std::int64_t> rows(core.capacities.size(), 0);
  for (std::size_t i = 0; i < core.nodes.size(); ++i) {
    for (const Core::Term& term : core.nodes[i].terms) {
      for (int t = term.begin; t < term.end; ++t) {
        rows[static_cast<std::size_t>(t)] += term.amounts[static_cast<std::size_t>(choice[i])];
      }
    }
  }
  return rows;
}

double core_cost(const Core& core, std::span<const int> choice) {
  ALPA_CHECK(choice.size() == core.nodes.size());
  double cost = core.constant;
  for (std::size_t i = 0; i < core.nodes.size(); ++i) {
    cost += core.nodes[i].costs[static_cast<std::size_t>(choice[i])];
  }
  for (const Problem::Edge& edge : core.edges) {
    const auto first = static_cast<std::size_t>(edge.first);
    const auto second = static_cast<std::size_t>(edge.second);
    cost += edge.costs[static_cast<std::size_t>(choice[first]) * core.nodes[second].costs.size() +
                       static_cast<std::size_t>(choice[second])];
  }
  const std::vector<std::int64_t> rows = core_rows(core, choice);
  for (std::size_t t = 0; t < rows.size(); ++t) {
    if (rows[t] > core.capacities[t]) {
      return kForbidden;
    }
  }
  return cost;
}

struct Reduction::State {
  WorkGraph graph;
  std::size_t count;
  Core core;
  std::vector<int> core_nodes;  ///< index in the problem of each node of the core

  explicit State(const Problem& problem) : graph(problem), count(problem.nodes.size()) {}
  void reduce() {
    graph.reduce();
    core = graph.infeasible() ? Core{} : graph.core(core_nodes);
  }
};

Reduction::Reduction(const Problem& problem) : state_(std::make_unique<State>(problem)) {
  state_->reduce();
}
Reduction::~Reduction() = default;
Reduction::Reduction(Reduction&&) noexcept = default;
Reduction& Reduction::operator=(Reduction&&) noexcept = default;

bool Reduction::infeasible() const { return state_->graph.infeasible(); }
const Core& Reduction::core() const { return state_->core; }

void Reduction::restrict_to(const std::vector<std::vector<bool>>& keep,
                            const std::vector<std::vector<bool>>& pairs) {
  state_->graph.forbid_pairs(pairs);
  for (std::size_t i = 0; i < keep.size(); ++i) {
    if (std::find(keep[i].begin(), keep[i].end(), false) != keep[i].end()) {
      state_->graph.delete_options(state_->core_nodes[i], keep[i]);
    }
  }
  state_->reduce();
}

std::vector<int> Reduction::extend(std::span<const int> core_choice) const {
  ALPA_CHECK(core_choice.size() == state_->core.nodes.size());
  std::vector<int> ids(state_->count, -1);
  for (std::size_t i = 0; i < core_choice.size(); ++i) {
    const int node = state_->core_nodes[i];
    ids[static_cast<std::size_t>(node)] =
        state_->graph.node(node).ids[static_cast<std::size_t>(core_choice[i])];
  }
  state_->graph.reconstruct(ids);
  return ids;
}

std::vector<int> Reduction::project(std::span<const int> choice) const {
  std::vector<int> result;
  for (const int node : state_->core_nodes) {
    const std::vector<int>& ids = state_->graph.node(node).ids;
    const auto found =
        std::lower_bound(ids.begin(), ids.end(), choice[static_cast<std::size_t>(node)]);
    if (found == ids.end() || *found != choice[static_cast<std::size_t>(node)]) {
      return {};
    }
    result.push_back(static_cast<int>(found - ids.begin()));
  }
  return result;
}

}  // namespace alpa
