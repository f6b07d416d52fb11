// The rules that look at one node and its edges.
#include <algorithm>
#include <cmath>
#include <utility>

#include "work_graph.hpp"

namespace alpa {
namespace {

/// Every row has exactly one finite entry.
bool is_function_of_rows(const EdgeView& edge) {
  for (std::size_t p = 0; p < edge.rows; ++p) {
    std::size_t finite = 0;
    for (std::size_t q = 0; q < edge.columns && finite < 2; ++q) {
      finite += edge(p, q) < kForbidden ? 1 : 0;
    }
    if (finite != 1) return false;
  }
  return true;
}

/// The column of the only finite entry of each row.  @pre is_function_of_rows(edge)
std::vector<std::size_t> function_of_rows(const EdgeView& edge) {
  std::vector<std::size_t> columns(edge.rows);
  for (std::size_t p = 0; p < edge.rows; ++p) {
    while (!(edge(p, columns[p]) < kForbidden)) ++columns[p];
  }
  return columns;
}

/// r(p, q) = a(p) + b(q) up to rounding, all finite.
bool is_separable(const EdgeView& edge) {
  for (std::size_t p = 0; p < edge.rows; ++p) {
    for (std::size_t q = 0; q < edge.columns; ++q) {
      if (!(edge(p, q) < kForbidden)) {
        return false;
      }
      const double left = edge(p, q) + edge(0, 0);
      const double right = edge(p, 0) + edge(0, q);
      if (std::abs(left - right) > 4e-16 * std::max(std::abs(left), std::abs(right))) {
        return false;
      }
    }
  }
  return true;
}

/// Puts `begun` plus what follows in place of what is more, with the option that takes it.
void take_less(double begun, const double* follows, int option, double* least,
               std::vector<int>& taken) {
  int* who = taken.data();
  for (std::size_t q = 0; q < taken.size(); ++q) {
    const double cost = begun + follows[q];
    const bool less = cost < least[q];
    least[q] = less ? cost : least[q];
    who[q] = less ? option : who[q];
  }
}

}  // namespace

void WorkGraph::run_queue() {
  while (!infeasible_ && (!queue_.empty() || !waiting_.empty())) {
    // Cheap rules reach their fixpoint before dominance, which compares all pairs of options.
    for (std::size_t next = 0; next < queue_.size() && !infeasible_; ++next) {
      const int i = queue_[next];
      queued_[static_cast<std::size_t>(i)] = false;
      if (node(i).alive) {
        apply_cheap_rules(i);
      }
    }
    queue_.clear();
    const std::vector<int> waiting = std::exchange(waiting_, {});
    for (std::size_t w = 0; w < waiting.size(); ++w) {
      waits_[static_cast<std::size_t>(waiting[w])] = false;
    }
    for (const int i : waiting) {
      if (node(i).alive && !infeasible_) {
        delete_dominated(i);
      }
    }
  }
}

void WorkGraph::apply_cheap_rules(int i) {
  if (prune_forbidden(i)) {
    return;  // queued again
  }
  if (node(i).costs.size() == 1) {
    fix(i);
    return;
  }
  drop_separable_edges(i);
  if (contract_functional_edge(i)) {
    return;
  }
  if (node(i).terms.empty() && node(i).edges.size() <= 2 && table_is_small(i)) {
    eliminate(i);
  }
}

bool WorkGraph::prune_forbidden(int i) {
  const std::vector<double>& own = node(i).costs;
  const auto has_finite = [](const EdgeView& seen, std::size_t p) {
    std::size_t q = 0;
    while (q < seen.columns && !(seen(p, q) < kForbidden)) ++q;
    return q < seen.columns;
  };
  bool all = !own.empty() &&
             std::all_of(own.begin(), own.end(), [](double cost) { return cost < kForbidden; });
  for (std::size_t k = 0; all && k < node(i).edges.size(); ++k) {
    const EdgeView seen = view(node(i).edges[k], i);
    for (std::size_t p = 0; all && p < seen.rows; ++p) all = has_finite(seen, p);
  }
  if (all) {
    return false;
  }
  std::vector<bool> keep;
  for (const double cost : own) keep.push_back(cost < kForbidden);
  for (const int e : node(i).edges) {
    const EdgeView seen = view(e, i);
    for (std::size_t p = 0; p < seen.rows; ++p) keep[p] = keep[p] && has_finite(seen, p);
  }
  delete_options(i, keep);
  return true;
}

bool WorkGraph::drop_separable_edges(int i) {
  const std::vector<int> edges = node(i).edges;
  bool any = false;
  for (const int e : edges) {
    const EdgeView seen = view(e, i);
    if (seen.columns == 0 || !is_separable(seen)) {
      continue;
    }
    Node& other = at(other_end(e, i));
    for (std::size_t p = 0; p < seen.rows; ++p) {
      at(i).costs[p] += seen(p, 0);
    }
    for (std::size_t q = 0; q < seen.columns; ++q) {
      other.costs[q] += seen(0, q) - seen(0, 0);
    }
    remove_edge(e);
    any = true;
  }
  return any;
}

bool WorkGraph::contract_functional_edge(int i) {
  for (const int e : node(i).edges) {
    const int j = other_end(e, i);
    const bool j_follows = is_function_of_rows(view(e, i));
    const bool i_follows = is_function_of_rows(view(e, j));
    if (j_follows && (!i_follows || node(j).edges.size() <= node(i).edges.size())) {
      contract(e, i);
      return true;
    }
    if (i_follows) {
      contract(e, j);
      return true;
    }
  }
  return false;
}

void WorkGraph::contract(int e, int into) {
  const int gone = other_end(e, into);
  const EdgeView tie = view(e, into);
  const std::vector<std::size_t> follows = function_of_rows(tie);
  Step step{
      .node = gone, .first = into, .first_ids = node(into).ids, .second_ids = {}, .table = {}};
  for (std::size_t p = 0; p < follows.size(); ++p) {
    at(into).costs[p] += node(gone).costs[follows[p]] + tie(p, follows[p]);
    step.table.push_back(node(gone).ids[follows[p]]);
  }
  remove_edge(e);
  const std::vector<int> moved = node(gone).edges;
  for (const int old : moved) {
    const EdgeView seen = view(old, gone);
    std::vector<double> costs;
    costs.reserve(follows.size() * seen.columns);
    for (const std::size_t p : follows) {
      for (std::size_t q = 0; q < seen.columns; ++q) {
        costs.push_back(seen(p, q));
      }
    }
    const int other = other_end(old, gone);
    remove_edge(old);
    add_edge(into, other, std::move(costs));
  }
  for (const Core::Term& term : node(gone).terms) {
    Core::Term image{term.begin, term.end, {}};
    for (const std::size_t p : follows) {
      image.amounts.push_back(term.amounts[p]);
    }
    at(into).terms.push_back(std::move(image));
  }
  kill(gone, std::move(step));
  touch_around(into);
}

void WorkGraph::fix(int i) {
  constant_ += node(i).costs[0];
  for (const Core::Term& term : node(i).terms) {
    for (int t = term.begin; t < term.end; ++t) {
      capacities_[static_cast<std::size_t>(t)] -= term.amounts[0];
    }
  }
  for (const int e : node(i).edges) {
    const EdgeView seen = view(e, i);
    Node& other = at(other_end(e, i));
    for (std::size_t q = 0; q < seen.columns; ++q) {
      other.costs[q] += seen(0, q);
    }
  }
  const int id = node(i).ids[0];
  kill(i, {.node = i, .first_ids = {}, .second_ids = {}, .table = {id}});
}

bool WorkGraph::table_is_small(int i) const {
  std::size_t entries = 1;
  for (const int e : node(i).edges) {
    entries *= node(other_end(e, i)).costs.size();
  }
  constexpr std::size_t kLargestTable = std::size_t{1} << 22;
  return entries <= kLargestTable;
}

void WorkGraph::eliminate(int i) {
  const std::vector<int> edges = node(i).edges;
  const auto end = [&](std::size_t k) { return edges.size() > k ? other_end(edges[k], i) : -1; };
  const int first = end(0);
  const int second = end(1);
  const std::size_t rows = first < 0 ? 1 : node(first).costs.size();
  const std::size_t columns = second < 0 ? 1 : node(second).costs.size();
  Step step{.node = i,
            .first = first,
            .second = second,
            .first_ids = {},
            .second_ids = {},
            .table = std::vector<int>(rows * columns)};
  std::vector<double> best(rows * columns, kForbidden);
  const std::size_t options = node(i).costs.size();
  std::vector<double> to_second(options * columns, 0.0);  // row-major, to go through in a row
  if (second >= 0) {
    const EdgeView seen = view(edges[1], i);
    for (std::size_t x = 0; x < options; ++x) {
      for (std::size_t q = 0; q < columns; ++q) to_second[x * columns + q] = seen(x, q);
    }
  }
  std::vector<int> taken(columns);
  for (std::size_t p = 0; p < rows; ++p) {
    std::fill(taken.begin(), taken.end(), 0);
    double* least = best.data() + p * columns;
    for (std::size_t x = 0; x < options; ++x) {
      const double begun = node(i).costs[x] + (first < 0 ? 0.0 : view(edges[0], i)(x, p));
      if (begun < kForbidden) {
        take_less(begun, to_second.data() + x * columns, static_cast<int>(x), least, taken);
      }
    }
    for (std::size_t q = 0; q < columns; ++q) {
      step.table[p * columns + q] = node(i).ids[static_cast<std::size_t>(taken[q])];
    }
  }
  step.first_ids = first < 0 ? std::vector<int>{} : node(first).ids;
  step.second_ids = second < 0 ? std::vector<int>{} : node(second).ids;
  kill(i, std::move(step));
  if (first < 0) {
    constant_ += best[0];
  } else if (second < 0) {
    for (std::size_t p = 0; p < rows; ++p) {
      at(first).costs[p] += best[p];
    }
    touch_around(first);
  } else {
    add_edge(first, second, std::move(best));
  }
}

}  // namespace alpa
