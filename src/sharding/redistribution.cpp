#include "alpa/sharding/redistribution.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/base/units.hpp"

#include "layout_graph.hpp"

namespace alpa {
namespace {

/// More than what sums of costs are rounded by, as a share of the largest.
constexpr double kRounding = 1e-12;

/// Largest piece of the layout in bytes; pieces differ by at most one element a dimension.
double piece_bytes(const Shape& shape, DType dtype, const ShardingSpec& spec,
                   const DeviceMesh& mesh) {
  double elements = 1;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    std::int64_t parts = 1;
    for (const MeshAxis axis : spec.dim_axes[d]) parts *= extent(mesh, axis);
    double length = ceiling_share(shape[d], parts);
    for (const auto& margin : spec.margins) {
      if (margin.dim == static_cast<int>(d)) {
        length += static_cast<double>(margin.before + margin.after);
      }
    }
    elements *= length;
  }
  return elements * static_cast<double>(size_of(dtype));
}

}  // namespace

/// Searches from layout to layout, each towards the target by what earlier ones have shown of the
/// way there.
class Redistributions::Search {
 public:
  Search(const Shape& shape, DType dtype, const DeviceMesh& mesh) : graph_(shape, dtype, mesh) {}

  int number(const ShardingSpec& spec) {
    const int place = spec.margins.empty() ? graph_.place_of(spec) : LayoutGraph::kNowhere;
    if (place != kNowhere) {
      if (of_place_.size() <= at(place)) of_place_.resize(at(place) + 1, -1);
      int& known = of_place_[at(place)];
      if (known < 0) known = add_layout(place, spec);
      return known;
    }
    const auto [it, is_new] = layouts_with_margins_.try_emplace(spec, -1);
    if (is_new) it->second = add_layout(graph_.place_of(without_margins(spec)), spec);
    return it->second;
  }

  const std::vector<int>& path(int from, int to, double charge) {
    ALPA_CHECK(charge >= 1.0);
    path_.clear();
    if (from == to) return path_;
    const Layout& source = layouts_[at(from)];
    const Layout& target = layouts_[at(to)];
    if (source.place != target.place) find_moves(source.place, target.place, charge);
    if (!source.spec.margins.empty()) {  // an input that becomes a partial sum
      ALPA_CHECK(source.spec.margins == target.spec.margins &&
                 source.spec.dim_axes == target.spec.dim_axes);
      for (int& number : path_) {
        Move longer = move(number);
        longer.before.margins = longer.after.margins = target.spec.margins;
        number = add_with_margins(std::move(longer));
      }
    } else if (!target.spec.margins.empty()) {
      path_.push_back(margins_of(to));
    }
    return path_;
  }

  [[nodiscard]] Move move(int number) const {
    const Known& known = moves_[at(number)];
    return known.arc < 0 ? with_margins_[at(known.with_margins)]
                         : graph_.move(graph_.arc(known.arc));
  }
  [[nodiscard]] Move::Kind kind(int number) const {
    const Known& known = moves_[at(number)];
    return known.arc < 0 ? with_margins_[at(known.with_margins)].kind : graph_.arc(known.arc).kind;
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  static constexpr int kNowhere = LayoutGraph::kNowhere;

  /// A move that was asked for.
  struct Known {
    int arc = kNowhere;  ///< if there is none, it is among those with margins
    int with_margins = -1;
  };
  /// How far the search that runs has come at a place.
  struct Progress {
    double cost = kNever;
    double whole = kNever;  ///< of a path through here, at least
    int by = kNowhere;      ///< arc that leads here
    bool is_open = false;   ///< the way from here is still to be followed
  };
  struct Layout {
    int place = kNowhere;
    ShardingSpec spec;
    int margins = kNowhere;  ///< the move that makes them
  };
  using Bounds = std::vector<double>;  ///< by place, of the cost from there; 0 beyond

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  int add_layout(int place, const ShardingSpec& spec) {
    layouts_.push_back({place, spec});
    return static_cast<int>(layouts_.size()) - 1;
  }

  int add_move(Known known) {
    moves_.push_back(known);
    return static_cast<int>(moves_.size()) - 1;
  }

  int add_with_margins(Move move) {
    with_margins_.push_back(std::move(move));
    return add_move({.with_margins = static_cast<int>(with_margins_.size()) - 1});
  }

  int margins_of(int layout) {
    Layout& to = layouts_[at(layout)];
    if (to.margins != kNowhere) return to.margins;
    Move last{.kind = Move::Kind::margins,
              .axes = {},
              .before = without_margins(to.spec),
              .after = to.spec};
    for (const auto& margin : to.spec.margins) {
      const auto& axes = to.spec.dim_axes[at(margin.dim)];
      last.axes.insert(last.axes.end(), axes.begin(), axes.end());
    }
    std::sort(last.axes.begin(), last.axes.end());
    return to.margins = add_with_margins(std::move(last));
  }

  /// Among the places from which a place is reached at the same cost, the path comes from the
  /// nearest, the first in the order of layouts if they are equally near. This does not hang on the
  /// order in which places are looked at.
  void find_moves(int from, int to, double charge) {
    charge_ = charge;
    target_ = to;
    most_ = kNever;
    ahead_ = &bounds_to(to, charge);
    wanted_ = graph_.features(to);
    if (progress_.size() <= at(from)) progress_.resize(graph_.num_places());
    reach(from, 0.0, cost_ahead(from), kNowhere);
    for (int here = take_nearest(); here != kNowhere; here = take_nearest()) {
      const auto [begin, end] = graph_.arcs_from(here);
      for (int arc = begin; arc != end; ++arc) follow(arc);
      for (const int feature : wanted_) {
        const int arc = graph_.arc_towards(here, feature);
        if (arc != kNowhere) follow(arc);
      }
    }
    ALPA_CHECK(most_ < kNever);
    for (int arc = progress_[at(to)].by; arc != kNowhere;
         arc = progress_[at(graph_.arc(arc).before)].by) {
      path_.push_back(move_of(arc));
    }
    std::reverse(path_.begin(), path_.end());
    learn();
  }

  Bounds& bounds_to(int target, double charge) {
    auto& of_targets = bounds_[charge];
    if (of_targets.size() <= at(target)) of_targets.resize(at(target) + 1);
    Bounds& bounds = of_targets[at(target)];
    // No move costs less for a higher charge.
    if (bounds.empty() && charge > 1.0) bounds = bounds_to(target, 1.0);
    return bounds;
  }

  /// From a place to the target it costs no less than the whole path less what it costs to come to
  /// the place. Ends the search.
  void learn() {
    const double best = (1.0 - kRounding) * progress_[at(target_)].cost;
    ahead_->resize(graph_.num_places());
    for (const int place : reached_) {
      double& bound = (*ahead_)[at(place)];
      bound = std::max(bound, best - progress_[at(place)].cost);
      progress_[at(place)] = {};
    }
    reached_.clear();
    open_.clear();
  }

  [[nodiscard]] double cost_ahead(int place) const {
    return at(place) < ahead_->size() ? (*ahead_)[at(place)] : 0.0;
  }

  /// Of the places that are open the one nearest to both ends; kNowhere: no path leads there that
  /// is as cheap as the best.
  int take_nearest() {
    if (open_.empty()) return kNowhere;
    auto nearest = open_.begin();
    for (auto it = open_.begin() + 1; it != open_.end(); ++it) {
      if (progress_[at(*it)].whole < progress_[at(*nearest)].whole) nearest = it;
    }
    const int place = *nearest;
    *nearest = open_.back();
    open_.pop_back();
    if (progress_[at(place)].whole > most_) return kNowhere;
    progress_[at(place)].is_open = false;
    return place;
  }

  [[nodiscard]] bool is_nearer(int a, int b) const {
    const double first = progress_[at(a)].cost;
    const double second = progress_[at(b)].cost;
    return first < second || (first == second && graph_.is_before(a, b));
  }

  void reach(int place, double cost, double whole, int by) {
    Progress& next = progress_[at(place)];
    if (next.cost == kNever) reached_.push_back(place);
    next.cost = cost;
    next.whole = whole;
    next.by = by;
    if (place == target_) {
      most_ = (1.0 + kRounding) * cost;
    } else if (!next.is_open) {
      next.is_open = true;
      open_.push_back(place);
    }
  }

  void follow(int number) {
    const LayoutGraph::Arc& arc = graph_.arc(number);
    if (progress_.size() <= at(arc.after)) progress_.resize(graph_.num_places());
    const Progress& next = progress_[at(arc.after)];
    const double cost = progress_[at(arc.before)].cost + arc.cost.at(charge_);
    if (cost > next.cost) return;
    const double whole = cost + cost_ahead(arc.after);
    if (whole > most_) return;
    if (cost == next.cost && !is_nearer(arc.before, graph_.arc(next.by).before)) return;
    reach(arc.after, cost, whole, number);
  }

  int move_of(int arc) {
    if (of_arc_.size() <= at(arc)) of_arc_.resize(at(arc) + 1, -1);
    int& known = of_arc_[at(arc)];
    if (known < 0) known = add_move({.arc = arc});
    return known;
  }

  LayoutGraph graph_;
  std::vector<Layout> layouts_;
  std::map<ShardingSpec, int> layouts_with_margins_;
  std::vector<int> of_place_;  ///< the layout that is one; -1: none was asked for
  std::vector<int> of_arc_;    ///< its move; -1: none was asked for
  std::vector<Known> moves_;
  std::vector<Move> with_margins_;
  std::map<double, std::vector<Bounds>> bounds_;  ///< by charge and target
  std::vector<int> path_;                         ///< the last that was asked for
  // The search that runs:
  double charge_ = 1.0;
  int target_ = kNowhere;
  Bounds* ahead_ = nullptr;
  std::vector<Progress> progress_;  ///< [place]
  std::vector<int> reached_;
  std::vector<int> open_;
  std::vector<int> wanted_;  ///< features of the target
  double most_ = kNever;     ///< that a path may cost which is no dearer than the best so far
};

Redistributions::Redistributions(const Shape& shape, DType dtype, const DeviceMesh& mesh)
    : search_(std::make_unique<Search>(shape, dtype, mesh)) {}
Redistributions::~Redistributions() = default;

int Redistributions::number(const ShardingSpec& spec) { return search_->number(spec); }
const std::vector<int>& Redistributions::path(int from, int to, double charge) {
  return search_->path(from, to, charge);
}
Move Redistributions::move(int number) const { return search_->move(number); }
Move::Kind Redistributions::kind(int move) const { return search_->kind(move); }

std::string to_string(Move::Kind kind) {
  switch (kind) {
    case Move::Kind::all_reduce:
      return "all_reduce";
    case Move::Kind::reduce_scatter:
      return "reduce_scatter";
    case Move::Kind::all_gather:
      return "all_gather";
    case Move::Kind::all_to_all:
      return "all_to_all";
    case Move::Kind::slice:
      return "slice";
    case Move::Kind::to_partial:
      return "to_partial";
    case Move::Kind::margins:
      return "margins";
  }
  check_failed("known move", SourceLine::here());
}

double move_cost(const Shape& shape, DType dtype, const Move& move, const DeviceMesh& mesh) {
  double n = 1;
  for (const MeshAxis axis : move.axes) n *= extent(mesh, axis);
  return cost_of(move.kind, n, piece_bytes(shape, dtype, move.before, mesh),
                 piece_bytes(shape, dtype, move.after, mesh))
      .at(1.0);
}

std::vector<Move> redistribution(const Shape& shape, DType dtype, const ShardingSpec& from,
                                 const ShardingSpec& to, const DeviceMesh& mesh) {
  if (from == to) return {};
  Redistributions all(shape, dtype, mesh);
  const int source = all.number(from);
  std::vector<Move> moves;
  for (const int move : all.path(source, all.number(to))) moves.push_back(all.move(move));
  return moves;
}

}  // namespace alpa
