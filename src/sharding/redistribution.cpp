#include "alpa/sharding/redistribution.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include "alpa/base/error.hpp"
#include "alpa/base/units.hpp"

namespace alpa {
namespace {

constexpr double kCollectiveCharge = 4096.0;  // bytes; prefers one collective over two small ones
constexpr double kCopyShare = 0.01;           // a local copy against the same bytes on a link

double ceiling_share(std::int64_t elements, std::int64_t parts) {
  return static_cast<double>((elements + parts - 1) / parts);
}

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

/// @param n devices of a group  @param before, after bytes of the pieces
/// @param charge times the fixed part
double cost_of(Move::Kind kind, double n, double before, double after, double charge = 1.0) {
  const double share = (n - 1) / n;
  const double collective = charge * kCollectiveCharge;
  switch (kind) {
    case Move::Kind::all_reduce:
      return collective + 2 * share * before;
    case Move::Kind::reduce_scatter:
      return collective + share * before;
    case Move::Kind::all_gather:
      return collective + share * after;
    case Move::Kind::all_to_all:
      return collective + share * before;
    case Move::Kind::margins:
      return collective + (after - before) + kCopyShare * after;
    case Move::Kind::slice:
    case Move::Kind::to_partial:
      return charge + kCopyShare * after;
  }
  check_failed("known move", SourceLine::here());
}

/// A layout as a string: for each dimension its axes + 1 and a 0, then the partial axes + 1, a 0
/// and the kind of partial value. Strings compare as the layouts do. Example: [S1,R]+P0 is 2 0 0 1
/// 0 0.
using Code = std::string;

char letter(MeshAxis axis) { return static_cast<char>(axis + 1); }
MeshAxis axis_of(char c) { return static_cast<MeshAxis>(c) - 1; }

Code code_of(const ShardingSpec& spec) {
  Code code;
  for (const auto& axes : spec.dim_axes) {
    for (const MeshAxis axis : axes) code += letter(axis);
    code += '\0';
  }
  for (const MeshAxis axis : spec.partial_axes) code += letter(axis);
  code += '\0';
  code += static_cast<char>(spec.partial_op);
  return code;
}

ShardingSpec spec_of(const Code& code, std::size_t dims) {
  ShardingSpec spec;
  std::size_t i = 0;
  for (std::size_t d = 0; d < dims; ++d, ++i) {
    auto& axes = spec.dim_axes.emplace_back();
    for (; code[i] != '\0'; ++i) axes.push_back(axis_of(code[i]));
  }
  for (; code[i] != '\0'; ++i) spec.partial_axes.push_back(axis_of(code[i]));
  spec.partial_op = static_cast<ReduceOp>(code.back());
  return spec;
}

constexpr std::size_t kMostSegments = 16;
using Begins = std::array<std::size_t, kMostSegments>;

/// Where the axes of each dimension begin in a code, then the partial ones, then the kind.
Begins begins_of(const Code& code, std::size_t dims) {
  ALPA_CHECK(dims + 2 <= kMostSegments);
  Begins begins{};
  for (std::size_t i = 0, segment = 1; segment < dims + 2; ++i) {
    if (code[i] == '\0') begins[segment++] = i + 1;
  }
  return begins;
}

bool is_partial(const Code& code) { return code.size() > 2 && code[code.size() - 3] != '\0'; }

}  // namespace

/// Dijkstra's search over layouts; among equal costs the first layout in their order comes first.
/// Layouts and the moves from them are found when a search first comes there.
class Redistributions::Search {
 public:
  Search(Shape shape, DType dtype, DeviceMesh mesh, double charge)
      : shape_(std::move(shape)),
        element_(static_cast<double>(size_of(dtype))),
        mesh_(std::move(mesh)),
        charge_(charge) {
    ALPA_CHECK(mesh_.extents.size() <= kMostAxes);
  }

  int number(const ShardingSpec& spec) {
    ALPA_CHECK(spec.dim_axes.size() == shape_.size());
    const int place = place_of(code_of(spec));
    if (spec.margins.empty()) {
      int& known = of_place_[at(place)];
      if (known < 0) known = add_layout(place, spec);
      return known;
    }
    const auto [it, is_new] = with_margins_.try_emplace(spec, -1);
    if (is_new) it->second = add_layout(place, spec);
    return it->second;
  }

  std::vector<int> path(int from, int to) {
    if (from == to) return {};
    const Layout& source = layouts_[at(from)];
    const Layout& target = layouts_[at(to)];
    std::vector<int> moves;
    if (source.place != target.place) moves = moves_between(source.place, target.place);
    if (!source.spec.margins.empty()) {  // an input that becomes a partial sum
      ALPA_CHECK(source.spec.margins == target.spec.margins &&
                 source.spec.dim_axes == target.spec.dim_axes);
      for (int& move : moves) {
        Move longer = moves_[at(move)];
        longer.before.margins = longer.after.margins = target.spec.margins;
        move = add_move(std::move(longer));
      }
    } else if (!target.spec.margins.empty()) {
      moves.push_back(margins_of(to));
    }
    return moves;
  }

  [[nodiscard]] const Move& move(int number) const { return moves_[at(number)]; }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  static constexpr int kNowhere = -1;
  static constexpr std::size_t kMostAxes = 16;

  /// A layout without margins.
  struct Place {
    Code code;
    double bytes = 0.0;     ///< of the largest piece; negative: some piece would be empty
    std::vector<int> arcs;  ///< that may lead to any target
    bool expanded = false;
    std::vector<std::pair<int, int>> towards;  ///< those for targets with some feature; -1: none
    std::vector<int> features;  ///< axis a in segment s of the code as kMostAxes s + a: what slices
                                ///< and masks may work towards
  };
  /// How far the search that runs has come at a place.
  struct Progress {
    double cost = kNever;
    int by = kNowhere;  ///< arc that leads here
    bool settled = false;
  };
  struct Arc {
    Move::Kind kind = Move::Kind::slice;
    Code axes;
    int from_dim = -1, to_dim = -1;
    int before = kNowhere, after = kNowhere;
    double cost = 0.0;
    int move = kNowhere;
  };
  struct Layout {
    int place = kNowhere;
    ShardingSpec spec;
    int margins = kNowhere;  ///< the move that makes them
  };

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  int add_layout(int place, const ShardingSpec& spec) {
    layouts_.push_back({place, spec});
    return static_cast<int>(layouts_.size()) - 1;
  }

  int add_move(Move move) {
    moves_.push_back(std::move(move));
    return static_cast<int>(moves_.size()) - 1;
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
    return to.margins = add_move(std::move(last));
  }

  int place_of(Code code) {
    const auto next = static_cast<int>(places_.size());
    const auto [it, is_new] = numbers_.try_emplace(std::move(code), next);
    if (is_new) {
      Place& place = places_.emplace_back();
      place.code = it->first;
      place.bytes = bytes_of_piece(place.code);
      place.features = features_of(place.code);
      of_place_.push_back(-1);
      progress_.emplace_back();
    }
    return it->second;
  }

  [[nodiscard]] double bytes_of_piece(const Code& code) const {
    double elements = 1;
    std::size_t i = 0;
    for (const std::int64_t n : shape_) {
      std::int64_t parts = 1;
      for (; code[i] != '\0'; ++i) parts *= extent(mesh_, axis_of(code[i]));
      ++i;
      if (parts > n) return -1.0;
      elements *= ceiling_share(n, parts);
    }
    return elements * element_;
  }

  [[nodiscard]] std::vector<int> features_of(const Code& code) const {
    std::vector<int> features;
    const bool sum = code.back() == static_cast<char>(ReduceOp::sum);
    std::size_t i = 0;
    for (std::size_t s = 0; s <= shape_.size(); ++s, ++i) {
      for (; code[i] != '\0'; ++i) {
        if (s == shape_.size() && !sum) continue;
        features.push_back(static_cast<int>(kMostAxes * s) + axis_of(code[i]));
      }
    }
    return features;
  }

  std::vector<int> moves_between(int from, int to) {
    reach(from, 0.0, kNowhere);
    open_.clear();
    best_ = kNever;
    wanted_ = places_[at(to)].features;
    int here = from;
    while (here != to) {
      progress_[at(here)].settled = true;
      for (const int arc : arcs_from(here)) follow(arc, to);
      for (const int feature : wanted_) {
        const int arc = arc_towards(here, feature);
        if (arc != kNowhere) follow(arc, to);
      }
      here = take_nearest();
    }
    std::vector<int> moves;
    for (int arc = progress_[at(to)].by; arc != kNowhere;
         arc = progress_[at(arcs_[at(arc)].before)].by) {
      moves.push_back(move_of(arc));
    }
    std::reverse(moves.begin(), moves.end());
    for (const int place : reached_) progress_[at(place)] = {};
    reached_.clear();
    open_.clear();
    return moves;
  }

  /// Of those that were reached and are not settled.
  int take_nearest() {
    ALPA_CHECK(!open_.empty());
    std::size_t nearest = 0;
    for (std::size_t k = 1; k < open_.size(); ++k) {
      if (is_nearer(open_[k], open_[nearest])) nearest = k;
    }
    const int place = open_[nearest];
    open_[nearest] = open_.back();
    open_.pop_back();
    return place;
  }

  [[nodiscard]] bool is_nearer(int a, int b) const {
    const double first = progress_[at(a)].cost;
    const double second = progress_[at(b)].cost;
    return first < second || (first == second && places_[at(a)].code < places_[at(b)].code);
  }

  void reach(int place, double cost, int by) {
    Progress& next = progress_[at(place)];
    if (next.cost == kNever) {
      reached_.push_back(place);
      open_.push_back(place);
    }
    next.cost = cost;
    next.by = by;
  }

  void follow(int number, int target) {
    const Arc& arc = arcs_[at(number)];
    const Progress& next = progress_[at(arc.after)];
    if (next.settled) return;
    const double cost = progress_[at(arc.before)].cost + arc.cost;
    if (cost >= next.cost || cost > best_) return;  // every move costs something
    if (arc.after == target) best_ = cost;
    reach(arc.after, cost, number);
  }

  int move_of(int number) {
    Arc& arc = arcs_[at(number)];
    if (arc.move != kNowhere) return arc.move;
    Move move{arc.kind,
              {},
              arc.from_dim,
              arc.to_dim,
              spec_of(places_[at(arc.before)].code, shape_.size()),
              spec_of(places_[at(arc.after)].code, shape_.size())};
    for (const char axis : arc.axes) move.axes.push_back(axis_of(axis));
    return arc.move = add_move(std::move(move));
  }

  // Arcs from one place.

  void look_at(int place) {
    here_ = place;
    code_ = places_[at(place)].code;
    begins_ = begins_of(code_, shape_.size());
  }

  const std::vector<int>& arcs_from(int place) {
    if (!places_[at(place)].expanded) {
      look_at(place);
      found_.clear();
      resolve_partial();
      gather_and_exchange();
      places_[at(place)].arcs = found_;
      places_[at(place)].expanded = true;
    }
    return places_[at(place)].arcs;
  }

  /// A free move of an axis over which the value is whole, to where the target wants it.
  int arc_towards(int place, int feature) {
    for (const auto& [known, arc] : places_[at(place)].towards) {
      if (known == feature) return arc;
    }
    look_at(place);
    found_.clear();
    cut_or_mask(at(feature) / kMostAxes, letter(static_cast<MeshAxis>(at(feature) % kMostAxes)));
    const int arc = found_.empty() ? kNowhere : found_.front();
    places_[at(place)].towards.emplace_back(feature, arc);
    return arc;
  }

  [[nodiscard]] Code axes_of(std::size_t segment) const {
    return code_.substr(begins_[segment], end_of(segment) - begins_[segment]);
  }
  [[nodiscard]] std::size_t end_of(std::size_t segment) const { return begins_[segment + 1] - 1; }

  /// The code with other partial axes and, where `dim` is one, more axes at the end of it.
  [[nodiscard]] Code changed(const Code& partial, std::size_t dim, const Code& more) const {
    Code after = code_;
    after.replace(begins_[shape_.size()], axes_of(shape_.size()).size(), partial);
    if (dim < shape_.size()) after.insert(end_of(dim), more);
    return after;
  }

  void add(Move::Kind kind, const Code& axes, int from_dim, int to_dim, Code after) {
    if (!is_partial(after)) after.back() = static_cast<char>(ReduceOp::sum);
    const int place = place_of(std::move(after));
    const double bytes = places_[at(place)].bytes;
    if (bytes < 0.0) return;
    double n = 1;
    for (const char axis : axes) n *= extent(mesh_, axis_of(axis));
    const double cost = cost_of(kind, n, places_[at(here_)].bytes, bytes, charge_);
    found_.push_back(static_cast<int>(arcs_.size()));
    arcs_.push_back({kind, axes, from_dim, to_dim, here_, place, cost});
  }

  void resolve_partial() {
    const Code partial = axes_of(shape_.size());
    const std::size_t sets = partial.size() + (partial.size() > 1 ? 1 : 0);  // each, then all
    for (std::size_t set = 0; set < sets; ++set) {
      const Code axes = set < partial.size() ? Code(1, partial[set]) : partial;
      Code rest = partial;
      std::erase_if(rest, [&](char a) { return axes.find(a) != Code::npos; });
      add(Move::Kind::all_reduce, axes, -1, -1, changed(rest, shape_.size(), ""));
      for (std::size_t d = 0; d < shape_.size(); ++d) {
        add(Move::Kind::reduce_scatter, axes, -1, static_cast<int>(d), changed(rest, d, axes));
      }
    }
  }

  void gather_and_exchange() {
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      const Code split = axes_of(d);
      for (std::size_t count = 1; count <= split.size(); ++count) {
        const Code axes = split.substr(split.size() - count);
        if (!std::is_sorted(axes.begin(), axes.end())) break;
        Code rest = code_;
        rest.erase(end_of(d) - count, count);
        add(Move::Kind::all_gather, axes, static_cast<int>(d), -1, rest);
        for (std::size_t e = 0; e < shape_.size() && count == 1; ++e) {
          if (e == d) continue;
          Code after = rest;
          after.insert(end_of(e) - (e > d ? 1 : 0), axes);
          add(Move::Kind::all_to_all, axes, static_cast<int>(d), static_cast<int>(e),
              std::move(after));
        }
      }
    }
  }

  void cut_or_mask(std::size_t segment, char axis) {
    if (code_.find(axis) < code_.size() - 1) return;  // the last place is the kind
    const Code partial = axes_of(shape_.size());
    const Code axes(1, axis);
    if (segment < shape_.size()) {
      add(Move::Kind::slice, axes, -1, static_cast<int>(segment), changed(partial, segment, axes));
      return;
    }
    if (!partial.empty() && code_.back() != static_cast<char>(ReduceOp::sum)) return;
    Code after = partial + axis;
    std::sort(after.begin(), after.end());
    add(Move::Kind::to_partial, axes, -1, -1, changed(after, shape_.size(), ""));
  }

  Shape shape_;
  double element_;
  DeviceMesh mesh_;
  double charge_;
  std::vector<Layout> layouts_;
  std::map<ShardingSpec, int> with_margins_;
  std::unordered_map<Code, int> numbers_;  ///< of places
  std::vector<Place> places_;
  std::vector<int> of_place_;  ///< the layout that is one; -1: none was asked for
  std::vector<Arc> arcs_;
  std::deque<Move> moves_;
  // The search that runs:
  std::vector<Progress> progress_;  ///< [place]
  std::vector<int> reached_;
  std::vector<int> open_;    ///< of these those that are not settled
  std::vector<int> wanted_;  ///< features of the target
  double best_ = kNever;     ///< cost of reaching the target so far
  // The place whose neighbours are being found:
  int here_ = kNowhere;
  Code code_;
  Begins begins_{};
  std::vector<int> found_;
};

Redistributions::Redistributions(const Shape& shape, DType dtype, const DeviceMesh& mesh,
                                 double charge)
    : search_(std::make_unique<Search>(shape, dtype, mesh, charge)) {}
Redistributions::~Redistributions() = default;

int Redistributions::number(const ShardingSpec& spec) { return search_->number(spec); }
std::vector<int> Redistributions::path(int from, int to) { return search_->path(from, to); }
const Move& Redistributions::move(int number) const { return search_->move(number); }

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
                 piece_bytes(shape, dtype, move.after, mesh));
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
