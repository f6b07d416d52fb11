// The rules that look at one node and its edges.
#include <algorithm>
#include <cmath>
#include <utility>

#include "work_graph.hpp"

namespace alpa {
namespace {

/// Every row has exactly one finite entry.
bool is_function_of_rows(const EdgeView& edge) {
  if (!edge.forbids) return edge.columns == 1;
  for (std::size_t a = 0; a < edge.row_classes; ++a) {
    std::ptrdiff_t finite = 0;
    for (std::size_t b = 0; b < edge.column_classes && finite < 2; ++b) {
      if (!(edge.of_classes(a, b) < kForbidden)) continue;
      const EdgeTable::Classes& all = edge.classes_of_columns();
      finite += all.empty() ? 1 : std::count(all.begin(), all.end(), static_cast<std::int32_t>(b));
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
  if (edge.forbids) return false;
  for (std::size_t a = 0; a < edge.row_classes; ++a) {
    for (std::size_t b = 0; b < edge.column_classes; ++b) {
      const double left = edge.of_classes(a, b) + edge.of_classes(0, 0);
      const double right = edge.of_classes(a, 0) + edge.of_classes(0, b);
      if (std::abs(left - right) > 4e-16 * std::max(std::abs(left), std::abs(right))) {
        return false;
      }
    }
  }
  return true;
}

/// Whether the rows of a class have a finite entry.
bool is_finite_somewhere(const EdgeView& edge, std::size_t row_class) {
  std::size_t b = 0;
  while (b < edge.column_classes && !(edge.of_classes(row_class, b) < kForbidden)) ++b;
  return b < edge.column_classes;
}

/// Puts `begun` plus what follows in place of what is more, with the option that takes it.
/// @param taken options as numbers of the width of costs
void take_less(double begun, const double* follows, double option, double* least,
               std::vector<double>& taken) {
  double* who = taken.data();
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
  bool all = !own.empty() &&
             std::all_of(own.begin(), own.end(), [](double cost) { return cost < kForbidden; });
  for (std::size_t k = 0; all && k < node(i).edges.size(); ++k) {
    const EdgeView seen = view(node(i).edges[k], i);
    if (!seen.forbids && seen.columns > 0) continue;
    for (std::size_t a = 0; all && a < seen.row_classes; ++a) all = is_finite_somewhere(seen, a);
  }
  if (all) {
    return false;
  }
  std::vector<bool> keep;
  for (const double cost : own) keep.push_back(cost < kForbidden);
  for (const int e : node(i).edges) {
    const EdgeView seen = view(e, i);
    for (std::size_t p = 0; p < keep.size(); ++p) {
      keep[p] = keep[p] && is_finite_somewhere(seen, seen.class_of_row(p));
    }
  }
  delete_options(i, keep);
  return true;
}

bool WorkGraph::drop_separable_edges(int i) {
  bool any = false;
  for (std::size_t k = 0; k < node(i).edges.size();) {
    const int e = node(i).edges[k];
    const EdgeView seen = view(e, i);
    if (seen.columns == 0 || !is_separable(seen)) {
      ++k;
      continue;
    }
    Node& other = at(other_end(e, i));
    for (std::size_t p = 0; p < seen.rows; ++p) {
      at(i).costs[p] += seen(p, 0);
    }
    for (std::size_t q = 0; q < seen.columns; ++q) {
      other.costs[q] += seen(0, q) - seen(0, 0);
    }
    remove_edge(e);  // the next one takes its place
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
  Step step{.node = gone, .first = into, .first_ids = node(into).ids};
  step.table.reserve(follows.size());
  for (std::size_t p = 0; p < follows.size(); ++p) {
    at(into).costs[p] += node(gone).costs[follows[p]] + tie(p, follows[p]);
    step.table.push_back(node(gone).ids[follows[p]]);
  }
  remove_edge(e);
  const std::vector<int> moved = node(gone).edges;
  for (const int old : moved) {
    const int other = other_end(old, gone);
    const bool rows = edge(old).first == gone;
    EdgeTable table = std::move(edge(old).table);
    remove_edge(old);
    table.select(rows, follows);
    if (rows) {
      add_edge(into, other, std::move(table));
    } else {
      add_edge(other, into, std::move(table));
    }
  }
  for (const Core::Term& term : node(gone).terms) {
    Core::Term image{term.begin, term.end, {}};
    image.amounts.reserve(follows.size());
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
  kill(i, {.node = i, .table = {id}});
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
  Step step{.node = i, .first = first, .second = second};
  EdgeTable::Classes to_first, to_second;  // of the options of the ends
  std::size_t first_options = 0, second_options = 0;
  std::size_t rows = 1;
  const std::size_t options = node(i).costs.size();
  std::vector<double> begun = node(i).costs;  // row-major [class of the first's options, option]
  if (first >= 0) {
    const EdgeView seen = view(edges[0], i);
    to_first = seen.classes_of_columns();
    first_options = seen.columns;
    rows = seen.column_classes;
    step.first_ids = node(first).ids;
    begun.clear();
    for (std::size_t a = 0; a < rows; ++a) {
      for (std::size_t x = 0; x < options; ++x) {
        begun.push_back(node(i).costs[x] + seen.of_classes(seen.class_of_row(x), a));
      }
    }
  }
  std::vector<double> follows(options, 0.0);  // [option, class of the second's options]
  if (second >= 0) {
    const EdgeView seen = view(edges[1], i);
    to_second = seen.classes_of_columns();
    second_options = seen.columns;
    step.columns = seen.column_classes;
    step.second_ids = node(second).ids;
    follows.clear();
    for (std::size_t x = 0; x < options; ++x) {
      seen.for_each_in_row(seen.class_of_row(x),
                           [&](std::size_t, double cost) { follows.push_back(cost); });
    }
  }
  std::vector<double> best(rows * step.columns, kForbidden);
  std::vector<double> taken(step.columns);
  step.table.reserve(best.size());
  for (std::size_t a = 0; a < rows; ++a) {
    std::fill(taken.begin(), taken.end(), 0.0);
    for (std::size_t x = 0; x < options; ++x) {
      const double cost = begun[a * options + x];
      if (cost < kForbidden) {
        take_less(cost, follows.data() + x * step.columns, static_cast<double>(x),
                  best.data() + a * step.columns, taken);
      }
    }
    for (const double x : taken) step.table.push_back(node(i).ids[static_cast<std::size_t>(x)]);
  }
  step.first_classes = to_first;
  step.second_classes = to_second;
  kill(i, std::move(step));
  if (first < 0) {
    constant_ += best[0];
  } else if (second < 0) {
    for (std::size_t p = 0; p < first_options; ++p) {
      at(first).costs[p] += best[to_first.empty() ? p : static_cast<std::size_t>(to_first[p])];
    }
    touch_around(first);
  } else {
    add_edge(first, second,
             EdgeTable(std::move(to_first), first_options, std::move(to_second), second_options,
                       std::move(best)));
  }
}

}  // namespace alpa
