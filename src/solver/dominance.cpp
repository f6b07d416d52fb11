// An option goes if another takes no more memory at any time and costs no more whatever the
// neighbours choose.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
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

/// What an entry at some place adds to the hash of its row or column.
std::uint64_t share_of_hash(double value, std::size_t place) {
  std::uint64_t factor = (place + 1) * 0x9E3779B97F4A7C15ULL;
  factor ^= factor >> 32U;
  return std::bit_cast<std::uint64_t>(value) * (factor | 1U);
}

/// Numbers of equal rows of a matrix, in the order in which they first come.
struct Alike {
  std::vector<std::size_t> of_row;
  std::vector<std::size_t> first;   ///< row with each number
  std::vector<std::uint64_t> hash;  ///< of each row

  template <typename Equal>
  void number(const Equal& equal) {
    of_row.clear();
    first.clear();
    for (std::size_t p = 0; p < hash.size(); ++p) {
      std::size_t k = 0;
      while (k < first.size() && !(hash[first[k]] == hash[p] && equal(first[k], p))) ++k;
      if (k == first.size()) first.push_back(p);
      of_row.push_back(k);
    }
  }
  void number_all(std::size_t rows) {
    of_row.resize(rows);
    std::iota(of_row.begin(), of_row.end(), std::size_t{0});
    first = of_row;
  }
};

/// An edge seen from a node, equal rows and equal columns once. Keeps its room when it is filled
/// again.
class Rows {
 public:
  void fill(const EdgeView& seen) {
    if (seen.rows <= kFewRows) {
      rows_.number_all(seen.rows);
      columns_.number_all(seen.columns);
    } else {
      find_alike(seen);
    }
    const std::size_t count = rows_.first.size();
    costs_.clear();
    least_.assign(count, kForbidden);
    for (std::size_t k = 0; k < count; ++k) {
      for (const std::size_t q : columns_.first) {
        costs_.push_back(seen(rows_.first[k], q));
        least_[k] = std::min(least_[k], costs_.back());
      }
    }
    losses_.assign(count * count, kUnknown);
  }

  /// The least entry of an option's row.
  [[nodiscard]] double least(std::size_t option) const { return least_[rows_.of_row[option]]; }

  /// Greatest r(a, q) - r(b, q) over the q that b allows.
  [[nodiscard]] double greatest_loss(std::size_t a, std::size_t b) {
    const std::size_t row_a = rows_.of_row[a];
    const std::size_t row_b = rows_.of_row[b];
    double& known = losses_[row_a * least_.size() + row_b];
    if (known != kUnknown) return known;
    double most = -kForbidden;
    const std::size_t columns = columns_.first.size();
    const double* with_a = costs_.data() + row_a * columns;
    const double* with_b = costs_.data() + row_b * columns;
    for (std::size_t q = 0; q < columns; ++q) {
      if (with_b[q] < kForbidden) most = std::max(most, with_a[q] - with_b[q]);
    }
    return known = most;
  }

 private:
  static constexpr double kUnknown = std::numeric_limits<double>::lowest();
  static constexpr std::size_t kFewRows = 8;  ///< of which equal ones are not worth looking for

  void find_alike(const EdgeView& seen) {
    rows_.hash.assign(seen.rows, 0);
    columns_.hash.assign(seen.columns, 0);
    for (std::size_t p = 0; p < seen.rows; ++p) {
      for (std::size_t q = 0; q < seen.columns; ++q) {
        rows_.hash[p] += share_of_hash(seen(p, q), q);
        columns_.hash[q] += share_of_hash(seen(p, q), p);
      }
    }
    rows_.number([&](std::size_t a, std::size_t b) {
      for (std::size_t q = 0; q < seen.columns; ++q) {
        if (seen(a, q) != seen(b, q)) return false;
      }
      return true;
    });
    columns_.number([&](std::size_t a, std::size_t b) {
      return std::all_of(rows_.first.begin(), rows_.first.end(),
                         [&](std::size_t p) { return seen(p, a) == seen(p, b); });
    });
  }

  Alike rows_, columns_;
  std::vector<double> costs_, least_, losses_;
};

/// Compares two options. `floor[p]` is the cost of p with the least entry of each edge.
bool dominates(std::size_t a, std::size_t b, const std::vector<double>& floor,
               std::span<Rows> edges, const std::vector<std::vector<std::int64_t>>& profile) {
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
  for (Rows& rows : edges) {
    loss += rows.greatest_loss(a, b) - (rows.least(a) - rows.least(b));
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
  thread_local std::vector<Rows> room;
  if (room.size() < node(i).edges.size()) room.resize(node(i).edges.size());
  const std::span<Rows> edges(room.data(), node(i).edges.size());
  for (std::size_t k = 0; k < edges.size(); ++k) {
    edges[k].fill(view(node(i).edges[k], i));
    for (std::size_t p = 0; p < options; ++p) {
      floor[p] += edges[k].least(p);
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
