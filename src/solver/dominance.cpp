// An option goes if another takes no more memory at any time and costs no more whatever the
// neighbours choose.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
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

/// Numbers of equal rows of a matrix, in the order in which they first come.
struct Alike {
  std::vector<std::size_t> of_row;
  std::vector<std::size_t> first;  ///< row with each number
};

/// @param hash of each row
template <typename Equal>
Alike alike(const std::vector<std::uint64_t>& hash, const Equal& equal) {
  Alike found;
  std::vector<std::pair<std::uint64_t, std::size_t>> known;
  for (std::size_t p = 0; p < hash.size(); ++p) {
    std::size_t number = 0;
    while (number < known.size() &&
           !(known[number].first == hash[p] && equal(known[number].second, p))) {
      ++number;
    }
    if (number == known.size()) {
      known.emplace_back(hash[p], p);
      found.first.push_back(p);
    }
    found.of_row.push_back(number);
  }
  return found;
}

/// What an entry at some place adds to the hash of its row or column.
std::uint64_t share_of_hash(double value, std::size_t place) {
  std::uint64_t factor = (place + 1) * 0x9E3779B97F4A7C15ULL;
  factor ^= factor >> 32U;
  return std::bit_cast<std::uint64_t>(value) * (factor | 1U);
}

/// An edge seen from a node, equal rows and equal columns once.
class Rows {
 public:
  explicit Rows(const EdgeView& seen) {
    std::vector<std::uint64_t> of_row(seen.rows, 0), of_column(seen.columns, 0);
    for (std::size_t p = 0; p < seen.rows; ++p) {
      for (std::size_t q = 0; q < seen.columns; ++q) {
        of_row[p] += share_of_hash(seen(p, q), q);
        of_column[q] += share_of_hash(seen(p, q), p);
      }
    }
    Alike rows = alike(of_row, [&](std::size_t a, std::size_t b) {
      for (std::size_t q = 0; q < seen.columns; ++q) {
        if (seen(a, q) != seen(b, q)) return false;
      }
      return true;
    });
    const Alike columns = alike(of_column, [&](std::size_t a, std::size_t b) {
      for (const std::size_t p : rows.first) {
        if (seen(p, a) != seen(p, b)) return false;
      }
      return true;
    });
    columns_ = columns.first.size();
    row_of_ = std::move(rows.of_row);
    for (const std::size_t p : rows.first) {
      double& least = least_.emplace_back(kForbidden);
      for (const std::size_t q : columns.first) {
        costs_.push_back(seen(p, q));
        least = std::min(least, seen(p, q));
      }
    }
    losses_.assign(least_.size() * least_.size(), kUnknown);
  }

  /// The least entry of an option's row.
  [[nodiscard]] double least(std::size_t option) const { return least_[row_of_[option]]; }

  /// Greatest r(a, q) - r(b, q) over the q that b allows.
  [[nodiscard]] double greatest_loss(std::size_t a, std::size_t b) {
    const std::size_t row_a = row_of_[a];
    const std::size_t row_b = row_of_[b];
    double& known = losses_[row_a * least_.size() + row_b];
    if (known != kUnknown) return known;
    double most = -kForbidden;
    const double* with_a = costs_.data() + row_a * columns_;
    const double* with_b = costs_.data() + row_b * columns_;
    for (std::size_t q = 0; q < columns_; ++q) {
      if (with_b[q] < kForbidden) most = std::max(most, with_a[q] - with_b[q]);
    }
    return known = most;
  }

 private:
  static constexpr double kUnknown = std::numeric_limits<double>::lowest();
  std::size_t columns_ = 0;
  std::vector<std::size_t> row_of_;  ///< by option
  std::vector<double> costs_, least_, losses_;
};

/// Compares two options. `floor[p]` is the cost of p with the least entry of each edge.
bool dominates(std::size_t a, std::size_t b, const std::vector<double>& floor,
               std::vector<Rows>& edges, const std::vector<std::vector<std::int64_t>>& profile) {
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
  std::vector<Rows> edges;
  for (const int e : node(i).edges) {
    edges.emplace_back(view(e, i));
    for (std::size_t p = 0; p < options; ++p) {
      floor[p] += edges.back().least(p);
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
