// An option goes if another takes no more memory at any time and costs no more whatever the
// neighbours choose.
#include <algorithm>
#include <cstdint>
#include <limits>
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

/// An edge seen from a node. Keeps its room when it is filled again.
class Rows {
 public:
  void fill(const EdgeView& seen) {
    row_of_.resize(seen.rows);
    for (std::size_t p = 0; p < seen.rows; ++p) row_of_[p] = seen.class_of_row(p);
    columns_ = seen.column_classes;
    costs_.resize(seen.row_classes * columns_);
    least_.resize(seen.row_classes);
    least_at_.resize(seen.row_classes);
    for (std::size_t a = 0; a < seen.row_classes; ++a) {
      double* const copies = costs_.data() + a * columns_;
      double least = kForbidden;
      std::size_t least_at = 0;
      seen.for_each_in_row(a, [&](std::size_t b, double cost) {
        copies[b] = cost;
        if (!(cost < least)) return;
        least = cost;
        least_at = b;
      });
      least_[a] = least;
      least_at_[a] = least_at;
    }
    losses_.assign(least_.size() * least_.size(), kUnknown);
  }

  /// The least entry of an option's row.
  [[nodiscard]] double least(std::size_t option) const { return least_[row_of(option)]; }

  /// By how much r(a, q) is above a's least where b's is least: no more than that by which the
  /// greatest loss is above the difference of the least.
  [[nodiscard]] double loss_at_least(std::size_t a, std::size_t b) const {
    const std::size_t row_a = row_of(a);
    return costs_[row_a * columns_ + least_at_[row_of(b)]] - least_[row_a];
  }

  /// Greatest r(a, q) - r(b, q) over the q that b allows.
  [[nodiscard]] double greatest_loss(std::size_t a, std::size_t b) {
    const std::size_t row_a = row_of(a);
    const std::size_t row_b = row_of(b);
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
  [[nodiscard]] std::size_t row_of(std::size_t option) const { return row_of_[option]; }

  std::vector<std::size_t> row_of_;  ///< class by option
  std::size_t columns_ = 0;
  std::vector<double> costs_, least_, losses_;
  std::vector<std::size_t> least_at_;  ///< column class
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
  double least_loss = loss;
  for (const Rows& rows : edges) {
    least_loss += rows.loss_at_least(a, b);
    if (least_loss > 0.0) {
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
