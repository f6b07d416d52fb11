// The rules about memory: what cannot bind goes, and time shrinks to the rows that can.
#include <algorithm>
#include <bit>
#include <utility>

#include "work_graph.hpp"

namespace alpa {
namespace {

/// Least value of any stretch of an array, O(1) after O(n log n).
class RangeMinimum {
 public:
  explicit RangeMinimum(const std::vector<std::int64_t>& values) : levels_{values} {
    for (std::size_t width = 1; 2 * width <= values.size(); width *= 2) {
      const std::vector<std::int64_t>& low = levels_.back();
      std::vector<std::int64_t> next(values.size() - 2 * width + 1);
      for (std::size_t t = 0; t < next.size(); ++t) {
        next[t] = std::min(low[t], low[t + width]);
      }
      levels_.push_back(std::move(next));
    }
  }
  /// @pre begin < end
  [[nodiscard]] std::int64_t operator()(int begin, int end) const {
    const auto length = static_cast<std::size_t>(end - begin);
    const auto level = static_cast<std::size_t>(std::bit_width(length) - 1);
    const std::vector<std::int64_t>& values = levels_[level];
    const auto last = static_cast<std::size_t>(end) - (std::size_t{1} << level);
    return std::min(values[static_cast<std::size_t>(begin)], values[last]);
  }

 private:
  std::vector<std::vector<std::int64_t>> levels_;
};

/// Sums of amounts over intervals: add them all, then read each row.
class RowSums {
 public:
  explicit RowSums(std::size_t rows) : sums_(rows + 1, 0) {}
  void add(const Core::Term& term, std::int64_t amount) {
    sums_[static_cast<std::size_t>(term.begin)] += amount;
    sums_[static_cast<std::size_t>(term.end)] -= amount;
  }
  [[nodiscard]] std::vector<std::int64_t> rows() const {
    std::vector<std::int64_t> result(sums_.begin(), sums_.end() - 1);
    for (std::size_t t = 1; t < result.size(); ++t) {
      result[t] += result[t - 1];
    }
    return result;
  }

 private:
  std::vector<std::int64_t> sums_;
};

/// Terms over the same rows become one.
void merge_terms(std::vector<Core::Term>& terms) {
  std::sort(terms.begin(), terms.end(), [](const Core::Term& a, const Core::Term& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::vector<Core::Term> merged;
  for (Core::Term& term : terms) {
    if (!merged.empty() && merged.back().begin == term.begin && merged.back().end == term.end) {
      for (std::size_t p = 0; p < term.amounts.size(); ++p) {
        merged.back().amounts[p] += term.amounts[p];
      }
    } else {
      merged.push_back(std::move(term));
    }
  }
  terms = std::move(merged);
}

/// How much more, and how much less, memory a row may take than the row before, over all choices.
struct RowChange {
  std::int64_t largest_rise = 0;
  std::int64_t largest_fall = 0;
};

std::vector<RowChange> row_changes(const std::vector<WorkGraph::Node>& nodes, std::size_t rows) {
  std::vector<RowChange> changes(rows + 1);
  struct Event {
    int row;
    const Core::Term* term;
    bool begins;
  };
  std::vector<Event> events;
  std::vector<std::int64_t> rise;
  for (const WorkGraph::Node& node : nodes) {
    events.clear();
    for (const Core::Term& term : node.terms) {
      events.push_back({term.begin, &term, true});
      events.push_back({term.end, &term, false});
    }
    std::sort(events.begin(), events.end(),
              [](const Event& a, const Event& b) { return a.row < b.row; });
    for (std::size_t e = 0; e < events.size();) {
      const int row = events[e].row;
      rise.assign(node.costs.size(), 0);
      for (; e < events.size() && events[e].row == row; ++e) {
        for (std::size_t p = 0; p < rise.size(); ++p) {
          const std::int64_t amount = events[e].term->amounts[p];
          rise[p] += events[e].begins ? amount : -amount;
        }
      }
      RowChange& change = changes[static_cast<std::size_t>(row)];
      const auto [least, most] = std::minmax_element(rise.begin(), rise.end());
      change.largest_rise += *most;
      change.largest_fall -= *least;
    }
  }
  return changes;
}

}  // namespace

void WorkGraph::reduce() {
  do {
    run_queue();
  } while (!infeasible_ && reduce_memory());
}

bool WorkGraph::reduce_memory() {
  subtract_least_usages();
  if (infeasible_) {
    return false;
  }
  bool changed = delete_misfits();
  if (infeasible_) {
    return false;
  }
  changed = drop_slack_rows() || changed;
  while (drop_dominated_rows()) {
    changed = true;
  }
  return changed && !infeasible_;
}

void WorkGraph::subtract_least_usages() {
  RowSums least(capacities_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    std::vector<Core::Term>& terms = nodes_[i].terms;
    merge_terms(terms);
    for (Core::Term& term : terms) {
      const std::int64_t amount = *std::min_element(term.amounts.begin(), term.amounts.end());
      least.add(term, amount);
      for (std::int64_t& value : term.amounts) {
        value -= amount;
      }
    }
    const auto gone = std::erase_if(terms, [](const Core::Term& term) {
      return *std::max_element(term.amounts.begin(), term.amounts.end()) == 0;
    });
    if (gone > 0) {
      touch(static_cast<int>(i));
    }
  }
  const std::vector<std::int64_t> rows = least.rows();
  for (std::size_t t = 0; t < rows.size(); ++t) {
    capacities_[t] -= rows[t];
    infeasible_ = infeasible_ || capacities_[t] < 0;
  }
}

bool WorkGraph::delete_misfits() {
  const RangeMinimum room(capacities_);
  bool any = false;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    std::vector<bool> keep(nodes_[i].costs.size(), true);
    bool misfit = false;
    for (const Core::Term& term : nodes_[i].terms) {
      const std::int64_t most = room(term.begin, term.end);
      for (std::size_t p = 0; p < keep.size(); ++p) {
        if (term.amounts[p] > most) {
          keep[p] = false;
          misfit = true;
        }
      }
    }
    if (misfit) {
      delete_options(static_cast<int>(i), keep);
      any = true;
    }
  }
  return any;
}

bool WorkGraph::drop_slack_rows() {
  RowSums most(capacities_.size());
  for (const Node& node : nodes_) {
    for (const Core::Term& term : node.terms) {
      if (!term.amounts.empty()) {
        most.add(term, *std::max_element(term.amounts.begin(), term.amounts.end()));
      }
    }
  }
  const std::vector<std::int64_t> rows = most.rows();
  std::vector<bool> keep(rows.size());
  for (std::size_t t = 0; t < rows.size(); ++t) {
    keep[t] = rows[t] > capacities_[t];
  }
  return keep_rows(keep);
}

bool WorkGraph::drop_dominated_rows() {
  const std::vector<RowChange> changes = row_changes(nodes_, capacities_.size());
  std::vector<bool> keep(capacities_.size(), true);
  for (std::size_t t = 0; t + 1 < keep.size(); ++t) {
    if (!keep[t]) {
      continue;  // its neighbour was compared with a row that is gone: next round
    }
    const std::int64_t wider = capacities_[t + 1] - capacities_[t];
    if (changes[t + 1].largest_fall <= -wider) {
      keep[t] = false;  // a choice that fits in the next row fits in this one
    } else if (changes[t + 1].largest_rise <= wider) {
      keep[t + 1] = false;
    }
  }
  return keep_rows(keep);
}

bool WorkGraph::keep_rows(const std::vector<bool>& keep) {
  std::vector<int> place(keep.size() + 1, 0);  // rows kept before this one
  for (std::size_t t = 0; t < keep.size(); ++t) {
    place[t + 1] = place[t] + (keep[t] ? 1 : 0);
  }
  if (place.back() == static_cast<int>(keep.size())) {
    return false;
  }
  for (std::size_t t = 0; t < keep.size(); ++t) {
    if (keep[t]) {
      capacities_[static_cast<std::size_t>(place[t])] = capacities_[t];
      row_ids_[static_cast<std::size_t>(place[t])] = row_ids_[t];
    }
  }
  capacities_.resize(static_cast<std::size_t>(place.back()));
  row_ids_.resize(capacities_.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    std::vector<Core::Term>& terms = nodes_[i].terms;
    const std::size_t before = terms.size();
    for (Core::Term& term : terms) {
      term.begin = place[static_cast<std::size_t>(term.begin)];
      term.end = place[static_cast<std::size_t>(term.end)];
    }
    std::erase_if(terms, [](const Core::Term& term) { return term.begin == term.end; });
    merge_terms(terms);
    if (terms.size() != before) {
      touch(static_cast<int>(i));
    }
  }
  return true;
}

}  // namespace alpa
