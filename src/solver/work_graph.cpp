#include "work_graph.hpp"

#include <algorithm>
#include <alpa/base/error.hpp>
#include <numeric>
#include <utility>

namespace alpa {
namespace {

/// Times at which a usage begins or ends, ascending: the rows lie between them.
std::vector<std::int64_t> break_points(const Problem& problem) {
  std::vector<std::int64_t> times;
  for (const Problem::Node& node : problem.nodes) {
    for (const Usage& usage : node.usages) {
      if (usage.begin < usage.end) {
        times.push_back(usage.begin);
        times.push_back(usage.end);
      }
    }
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  return times;
}

int row_of(const std::vector<std::int64_t>& times, std::int64_t time) {
  return static_cast<int>(std::lower_bound(times.begin(), times.end(), time) - times.begin());
}

std::size_t position(const std::vector<int>& ids, int id) {
  const auto found = std::lower_bound(ids.begin(), ids.end(), id);
  ALPA_CHECK(found != ids.end() && *found == id);
  return static_cast<std::size_t>(found - ids.begin());
}

/// Class of an option.  @param classes of all; empty: all different
std::size_t class_at(const std::vector<int>& ids, const EdgeTable::Classes& classes, int id) {
  const std::size_t place = position(ids, id);
  return classes.empty() ? place : static_cast<std::size_t>(classes[place]);
}

}  // namespace

WorkGraph::WorkGraph(const Problem& problem) {
  const std::size_t count = problem.nodes.size();
  queued_.assign(count, false);
  waits_.assign(count, false);
  std::vector<std::int64_t> times;
  if (problem.usage_limit) {
    times = break_points(problem);
    capacities_.assign(times.empty() ? 0 : times.size() - 1, *problem.usage_limit);
    row_ids_.resize(capacities_.size());
    std::iota(row_ids_.begin(), row_ids_.end(), 0);
    infeasible_ = *problem.usage_limit < 0;
  }
  nodes_.resize(count);
  std::vector<std::size_t> degree(count, 0);
  for (const Problem::Edge& e : problem.edges) {
    for (const int end : {e.first, e.second}) ++degree[static_cast<std::size_t>(end)];
  }
  edges_.reserve(2 * problem.edges.size());
  steps_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    Node& node = nodes_[i];
    node.costs = problem.nodes[i].costs;
    node.edges.reserve(degree[i]);
    node.ids.resize(node.costs.size());
    std::iota(node.ids.begin(), node.ids.end(), 0);
    for (const Usage& usage : problem.nodes[i].usages) {
      if (problem.usage_limit && usage.begin < usage.end && !usage.amounts.empty()) {
        node.terms.push_back({row_of(times, usage.begin), row_of(times, usage.end), usage.amounts});
      }
    }
  }
  for (const Problem::Edge& e : problem.edges) {
    if (e.first == e.second) {
      Node& node = at(e.first);
      for (std::size_t p = 0; p < node.costs.size(); ++p) {
        node.costs[p] += pair_cost(problem, e, p, p);
      }
    } else {
      add_edge(e.first, e.second,
               EdgeTable(e.first_classes, node(e.first).costs.size(), e.second_classes,
                         node(e.second).costs.size(), e.costs));
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    touch(static_cast<int>(i));
  }
}

int WorkGraph::other_end(int e, int i) const {
  return edge(e).first == i ? edge(e).second : edge(e).first;
}

void WorkGraph::touch(int i) {
  const auto index = static_cast<std::size_t>(i);
  if (!queued_[index]) {
    queued_[index] = true;
    queue_.push_back(i);
  }
  if (!waits_[index]) {
    waits_[index] = true;
    waiting_.push_back(i);
  }
}

void WorkGraph::touch_around(int i) {
  touch(i);
  for (const int e : node(i).edges) {
    touch(other_end(e, i));
  }
}

void WorkGraph::remove_edge(int e) {
  Edge& gone = edge(e);
  for (const int end : {gone.first, gone.second}) {
    std::erase(at(end).edges, e);
    touch(end);
  }
  gone.alive = false;
  gone.table = {};
}

void WorkGraph::kill(int i, Step step) {
  while (!node(i).edges.empty()) {
    remove_edge(node(i).edges.back());
  }
  step.node = i;
  steps_.push_back(std::move(step));
  at(i) = Node{.alive = false, .costs = {}, .ids = {}, .terms = {}, .edges = {}};
}

void WorkGraph::add_edge(int i, int j, EdgeTable table) {
  touch(i);
  touch(j);
  const int fewer = node(i).edges.size() <= node(j).edges.size() ? i : j;
  const int wanted = fewer == i ? j : i;
  for (const int e : node(fewer).edges) {
    if (other_end(e, fewer) != wanted) {
      continue;
    }
    edge(e).table.add(table, edge(e).first != i);
    return;
  }
  const int e = static_cast<int>(edges_.size());
  edges_.push_back({true, i, j, std::move(table)});
  at(i).edges.push_back(e);
  at(j).edges.push_back(e);
}

void WorkGraph::delete_options(int i, const std::vector<bool>& keep) {
  for (const int e : node(i).edges) edge(e).table.keep(edge(e).first == i, keep);
  const auto compact = [&keep](auto& values) {
    std::size_t to = 0;
    for (std::size_t p = 0; p < keep.size(); ++p) {
      if (keep[p]) {
        values[to++] = values[p];
      }
    }
    values.resize(to);
  };
  Node& node = at(i);
  compact(node.costs);
  compact(node.ids);
  for (Core::Term& term : node.terms) {
    compact(term.amounts);
  }
  infeasible_ = infeasible_ || node.costs.empty();
  touch_around(i);
}

void WorkGraph::forbid_pairs(const std::vector<std::vector<bool>>& allowed) {
  std::size_t next = 0;
  for (Edge& e : edges_) {
    if (!e.alive) {
      continue;
    }
    const std::vector<bool>& entries = allowed[next++];
    if (std::find(entries.begin(), entries.end(), false) == entries.end()) continue;
    std::vector<double> costs = e.table.dense();
    bool any = false;
    for (std::size_t k = 0; k < entries.size(); ++k) {
      if (!entries[k] && costs[k] < kForbidden) {
        costs[k] = kForbidden;
        any = true;
      }
    }
    if (!any) continue;
    e.table = EdgeTable(node(e.first).costs.size(), node(e.second).costs.size(), std::move(costs));
    touch(e.first);
    touch(e.second);
  }
}

Core WorkGraph::core(std::vector<int>& core_nodes) const {
  Core result;
  core_nodes.clear();
  std::vector<int> index(nodes_.size(), -1);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].alive) {
      index[i] = static_cast<int>(core_nodes.size());
      core_nodes.push_back(static_cast<int>(i));
      result.nodes.push_back({nodes_[i].costs, nodes_[i].terms});
    }
  }
  for (const Edge& e : edges_) {
    if (e.alive) {
      result.edges.push_back({index[static_cast<std::size_t>(e.first)],
                              index[static_cast<std::size_t>(e.second)], e.table.dense()});
    }
  }
  result.capacities = capacities_;
  result.row_ids = row_ids_;
  result.constant = constant_;
  return result;
}

void WorkGraph::reconstruct(std::vector<int>& ids) const {
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    std::size_t entry = 0;
    if (step->first >= 0) {
      entry = class_at(step->first_ids, step->first_classes,
                       ids[static_cast<std::size_t>(step->first)]);
    }
    if (step->second >= 0) {
      entry = entry * step->columns + class_at(step->second_ids, step->second_classes,
                                               ids[static_cast<std::size_t>(step->second)]);
    }
    ids[static_cast<std::size_t>(step->node)] = step->table[entry];
  }
}

}  // namespace alpa
