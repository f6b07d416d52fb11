// An option goes if another takes no more memory at any time and costs no more whatever the
// neighbours choose.
#include <algorithm>
#include <utility>

#include "work_graph.hpp"

namespace alpa {
namespace {

/// Memory of each option along the stretches between which it changes: [stretch][option].
std::vector<std::vector<std::int64_t>> memory_profile(const WorkGraph::Node& node) {
  std::vector<int> times;
  for (const Core::Term& term : node.terms) {
    times.push_back(term.begin);
    times.push_back(term.end);
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  const std::size_t options = node.costs.size();
  std::vector<std::vector<std::int64_t>> profile(times.size(),
                                                 std::vector<std::int64_t>(options, 0));
  for (const Core::Term& term : node.terms) {
    const auto at = [&times](int t) {
      return static_cast<std::size_t>(std::lower_bound(times.begin(), times.end(), t) -
                                      times.begin());
    };
    for (std::size_t p = 0; p < options; ++p) {
      profile[at(term.begin)][p] += term.amounts[p];
      profile[at(term.end)][p] -= term.amounts[p];
    }
  }
  for (std::size_t s = 1; s < profile.size(); ++s) {
    for (std::size_t p = 0; p < options; ++p) {
      profile[s][p] += profile[s - 1][p];
    }
  }
  return profile;
}

/// An edge as rows, with the least entry of each.
struct Rows {
  std::size_t columns;
  std::vector<double> costs;
  std::vector<double> least;
};

Rows rows_of(const EdgeView& seen) {
  Rows rows{seen.columns, {}, std::vector<double>(seen.rows, kForbidden)};
  rows.costs.reserve(seen.rows * seen.columns);
  for (std::size_t p = 0; p < seen.rows; ++p) {
    for (std::size_t q = 0; q < seen.columns; ++q) {
      rows.costs.push_back(seen(p, q));
      rows.least[p] = std::min(rows.least[p], seen(p, q));
    }
  }
  return rows;
}

/// Greatest r(a, q) - r(b, q) over the q that b allows.
double greatest_loss(const Rows& rows, std::size_t a, std::size_t b) {
  double most = -kForbidden;
  for (std::size_t q = 0; q < rows.columns; ++q) {
    const double with_b = rows.costs[b * rows.columns + q];
    if (with_b < kForbidden) {
      most = std::max(most, rows.costs[a * rows.columns + q] - with_b);
    }
  }
  return most;
}

/// Compares two options. `floor[p]` is the cost of p with the least entry of each edge.
bool dominates(std::size_t a, std::size_t b, const std::vector<double>& floor,
               const std::vector<Rows>& edges,
               const std::vector<std::vector<std::int64_t>>& profile) {
  // max_q (r(a,q) - r(b,q)) >= least(a) - least(b): the floors decide most pairs, and each edge
  // only adds to their difference.
  double loss = floor[a] - floor[b];
  if (loss > 0.0) {
    return false;
  }
  for (const std::vector<std::int64_t>& stretch : profile) {
    if (stretch[a] > stretch[b]) {
      return false;
    }
  }
  for (const Rows& rows : edges) {
    loss += greatest_loss(rows, a, b) - (rows.least[a] - rows.least[b]);
    if (loss > 0.0) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool WorkGraph::delete_dominated(int i) {
  const std::size_t options = node(i).costs.size();
  std::vector<double> floor = node(i).costs;
  std::vector<Rows> edges;
  for (const int e : node(i).edges) {
    edges.push_back(rows_of(view(e, i)));
    for (std::size_t p = 0; p < options; ++p) {
      floor[p] += edges.back().least[p];
    }
  }
  if (std::find(floor.begin(), floor.end(), kForbidden) != floor.end()) {
    touch(i);  // a neighbour lost options since: arc consistency comes first
    return false;
  }
  const std::vector<std::vector<std::int64_t>> profile = memory_profile(node(i));
  std::vector<bool> keep(options, true);
  bool any = false;
  for (std::size_t b = 0; b < options; ++b) {
    for (std::size_t a = 0; keep[b] && a < options; ++a) {
      if (a != b && keep[a] && dominates(a, b, floor, edges, profile)) {
        keep[b] = false;
        any = true;
      }
    }
  }
  if (any) {
    delete_options(i, keep);
  }
  return any;
}

}  // namespace alpa
