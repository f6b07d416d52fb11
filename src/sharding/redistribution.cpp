#include "alpa/sharding/redistribution.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <string>

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
double cost_of(Move::Kind kind, double n, double before, double after) {
  const double share = (n - 1) / n;
  switch (kind) {
    case Move::Kind::all_reduce:
      return kCollectiveCharge + 2 * share * before;
    case Move::Kind::reduce_scatter:
      return kCollectiveCharge + share * before;
    case Move::Kind::all_gather:
      return kCollectiveCharge + share * after;
    case Move::Kind::all_to_all:
      return kCollectiveCharge + share * before;
    case Move::Kind::margins:
      return kCollectiveCharge + (after - before) + kCopyShare * after;
    case Move::Kind::slice:
    case Move::Kind::to_partial:
      return 1 + kCopyShare * after;
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

/// Dijkstra's search over layouts; among equal costs the first layout in their order comes first.
/// Few are reached, so that they stand in a row.
class Search {
 public:
  Search(const Shape& shape, DType dtype, const ShardingSpec& to, const DeviceMesh& mesh)
      : shape_(shape),
        element_(static_cast<double>(size_of(dtype))),
        target_(code_of(to)),
        target_begins_(begins_of(target_, shape.size())),
        mesh_(mesh) {}

  std::vector<Move> run(const ShardingSpec& from) {
    reached_.reserve(kUsuallyReached);
    std::size_t here = place_of(code_of(from));
    reached_[here].cost = 0.0;
    while (reached_[here].code != target_) {
      reached_[here].settled = true;
      expand(here);
      here = kNowhere;
      for (std::size_t i = 0; i < reached_.size(); ++i) {
        const Reached& next = reached_[i];
        if (next.settled || next.cost == kNever) continue;
        if (here == kNowhere || next.cost < reached_[here].cost ||
            (next.cost == reached_[here].cost && next.code < reached_[here].code)) {
          here = i;
        }
      }
      ALPA_CHECK(here != kNowhere);
    }
    return path(here);
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  static constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t kUsuallyReached = 64;

  struct Reached {
    Code code;
    double bytes = 0.0;  ///< of the largest piece; negative: some piece would be empty
    double cost = kNever;
    bool settled = false;
    Move::Kind kind = Move::Kind::slice;  ///< of the move that leads here, from `before`
    Code axes = {};
    int from_dim = -1, to_dim = -1;
    std::size_t before = kNowhere;
  };

  /// Where a layout stands among those reached; put there if it is new.
  std::size_t place_of(Code code) {
    for (std::size_t i = 0; i < reached_.size(); ++i) {
      if (reached_[i].code == code) return i;
    }
    const double bytes = bytes_of_piece(code);
    reached_.push_back({std::move(code), bytes});
    return reached_.size() - 1;
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

  void expand(std::size_t here) {
    here_ = here;
    code_ = reached_[here].code;
    begins_ = begins_of(code_, shape_.size());
    resolve_partial();
    gather_and_exchange();
    cut_and_mask();
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
    const std::size_t place = place_of(std::move(after));
    Reached& next = reached_[place];
    if (next.settled || next.bytes < 0.0) return;
    double n = 1;
    for (const char axis : axes) n *= extent(mesh_, axis_of(axis));
    const Reached& here = reached_[here_];
    const double cost = here.cost + cost_of(kind, n, here.bytes, next.bytes);
    if (cost >= next.cost || cost > best_) return;  // every move costs something
    if (next.code == target_) best_ = cost;
    next.cost = cost;
    next.kind = kind;
    next.axes = axes;
    next.from_dim = from_dim;
    next.to_dim = to_dim;
    next.before = here_;
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

  /// Free moves of axes over which the value is whole; only towards what the target wants.
  void cut_and_mask() {
    const Code partial = axes_of(shape_.size());
    const auto used = [&](char axis) {
      return code_.find(axis) < code_.size() - 1;  // the last place is the kind
    };
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      for (std::size_t i = target_begins_[d]; target_[i] != '\0'; ++i) {
        if (used(target_[i])) continue;
        const Code axis(1, target_[i]);
        add(Move::Kind::slice, axis, -1, static_cast<int>(d), changed(partial, d, axis));
      }
    }
    const auto sum = static_cast<char>(ReduceOp::sum);
    if (target_.back() != sum || (!partial.empty() && code_.back() != sum)) return;
    for (std::size_t i = target_begins_[shape_.size()]; target_[i] != '\0'; ++i) {
      if (used(target_[i])) continue;
      Code after = partial + target_[i];
      std::sort(after.begin(), after.end());
      add(Move::Kind::to_partial, Code(1, target_[i]), -1, -1, changed(after, shape_.size(), ""));
    }
  }

  [[nodiscard]] std::vector<Move> path(std::size_t last) const {
    std::vector<Move> moves;
    for (std::size_t i = last; reached_[i].before != kNowhere; i = reached_[i].before) {
      const Reached& to = reached_[i];
      Move move{to.kind,
                {},
                to.from_dim,
                to.to_dim,
                spec_of(reached_[to.before].code, shape_.size()),
                spec_of(to.code, shape_.size())};
      for (const char axis : to.axes) move.axes.push_back(axis_of(axis));
      moves.push_back(std::move(move));
    }
    std::reverse(moves.begin(), moves.end());
    return moves;
  }

  const Shape& shape_;
  double element_;
  Code target_;
  Begins target_begins_;
  const DeviceMesh& mesh_;
  std::vector<Reached> reached_;
  double best_ = kNever;  ///< cost of reaching the target so far
  // The layout whose neighbours are being found:
  std::size_t here_ = kNowhere;
  Code code_;
  Begins begins_{};
};

}  // namespace

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
  ALPA_CHECK(from.dim_axes.size() == shape.size() && to.dim_axes.size() == shape.size());
  if (from == to) return {};
  const ShardingSpec pieces = without_margins(to);
  std::vector<Move> moves;
  if (!from.margins.empty()) {  // an input that becomes a partial sum
    ALPA_CHECK(from.margins == to.margins && from.dim_axes == to.dim_axes);
    moves = Search(shape, dtype, pieces, mesh).run(without_margins(from));
    for (Move& move : moves) move.before.margins = move.after.margins = to.margins;
    return moves;
  }
  if (from != pieces) moves = Search(shape, dtype, pieces, mesh).run(from);
  if (to.margins.empty()) return moves;
  Move last{.kind = Move::Kind::margins, .axes = {}, .before = pieces, .after = to};
  for (const auto& margin : to.margins) {
    const auto& axes = to.dim_axes[static_cast<std::size_t>(margin.dim)];
    last.axes.insert(last.axes.end(), axes.begin(), axes.end());
  }
  std::sort(last.axes.begin(), last.axes.end());
  moves.push_back(std::move(last));
  return moves;
}

}  // namespace alpa
