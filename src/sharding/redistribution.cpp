#include "alpa/sharding/redistribution.hpp"

#include <algorithm>
#include <limits>
#include <map>
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

/// Where the axes of each dimension begin in a code, then the partial ones, then the kind.
std::vector<std::size_t> begins_of(const Code& code, std::size_t dims) {
  std::vector<std::size_t> begins{0};
  for (std::size_t i = 0; begins.size() < dims + 2; ++i) {
    if (code[i] == '\0') begins.push_back(i + 1);
  }
  return begins;
}

bool is_partial(const Code& code) { return code.size() > 2 && code[code.size() - 3] != '\0'; }

/// Dijkstra's search over layouts; among equal costs the first layout in their order comes first.
class Search {
 public:
  Search(const Shape& shape, DType dtype, const ShardingSpec& to, const DeviceMesh& mesh)
      : shape_(shape),
        element_(static_cast<double>(size_of(dtype))),
        target_(code_of(to)),
        target_begins_(begins_of(target_, shape.size())),
        mesh_(mesh) {}

  std::vector<Move> run(const ShardingSpec& from) {
    auto here = reached_.try_emplace(code_of(from)).first;
    here->second.cost = 0.0;
    here->second.bytes = bytes_of_piece(here->first);
    while (here->first != target_) {
      here->second.settled = true;
      expand(here->first, here->second);
      here = reached_.end();
      for (auto it = reached_.begin(); it != reached_.end(); ++it) {
        if (it->second.settled || it->second.cost == kNever) continue;
        if (here == reached_.end() || it->second.cost < here->second.cost) here = it;
      }
      ALPA_CHECK(here != reached_.end());
    }
    return path();
  }

 private:
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  struct Reached {
    double cost = kNever;
    double bytes = 0.0;  ///< of the largest piece; negative: some piece would be empty
    bool settled = false;
    Move::Kind kind = Move::Kind::slice;  ///< of the move that leads here, from `before`
    Code axes;
    int from_dim = -1, to_dim = -1;
    const Code* before = nullptr;
  };

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

  void expand(const Code& code, const Reached& here) {
    code_ = &code;
    here_ = &here;
    begins_ = begins_of(code, shape_.size());
    resolve_partial();
    gather_and_exchange();
    cut_and_mask();
  }

  [[nodiscard]] Code axes_of(std::size_t segment) const {
    return code_->substr(begins_[segment], end_of(segment) - begins_[segment]);
  }
  [[nodiscard]] std::size_t end_of(std::size_t segment) const { return begins_[segment + 1] - 1; }

  /// The code with other partial axes and, where `dim` is one, more axes at the end of it.
  [[nodiscard]] Code changed(const Code& partial, std::size_t dim, const Code& more) const {
    Code after = *code_;
    after.replace(begins_[shape_.size()], axes_of(shape_.size()).size(), partial);
    if (dim < shape_.size()) after.insert(end_of(dim), more);
    return after;
  }

  void add(Move::Kind kind, const Code& axes, int from_dim, int to_dim, Code after) {
    if (!is_partial(after)) after.back() = static_cast<char>(ReduceOp::sum);
    const auto [it, is_new] = reached_.try_emplace(std::move(after));
    Reached& next = it->second;
    if (is_new) next.bytes = bytes_of_piece(it->first);
    if (next.settled || next.bytes < 0.0) return;
    double n = 1;
    for (const char axis : axes) n *= extent(mesh_, axis_of(axis));
    const double cost = here_->cost + cost_of(kind, n, here_->bytes, next.bytes);
    if (cost >= next.cost || cost > best_) return;  // every move costs something
    if (it->first == target_) best_ = cost;
    next.cost = cost;
    next.kind = kind;
    next.axes = axes;
    next.from_dim = from_dim;
    next.to_dim = to_dim;
    next.before = code_;
  }

  void resolve_partial() {
    const Code partial = axes_of(shape_.size());
    std::vector<Code> sets;
    for (const char axis : partial) sets.emplace_back(1, axis);
    if (partial.size() > 1) sets.push_back(partial);
    for (const Code& axes : sets) {
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
        Code rest = *code_;
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
      return code_->find(axis) < code_->size() - 1;  // the last place is the kind
    };
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      for (std::size_t i = target_begins_[d]; target_[i] != '\0'; ++i) {
        if (used(target_[i])) continue;
        const Code axis(1, target_[i]);
        add(Move::Kind::slice, axis, -1, static_cast<int>(d), changed(partial, d, axis));
      }
    }
    const auto sum = static_cast<char>(ReduceOp::sum);
    if (target_.back() != sum || (!partial.empty() && code_->back() != sum)) return;
    for (std::size_t i = target_begins_[shape_.size()]; target_[i] != '\0'; ++i) {
      if (used(target_[i])) continue;
      Code after = partial + target_[i];
      std::sort(after.begin(), after.end());
      add(Move::Kind::to_partial, Code(1, target_[i]), -1, -1, changed(after, shape_.size(), ""));
    }
  }

  [[nodiscard]] std::vector<Move> path() const {
    std::vector<Move> moves;
    for (const Code* at = &target_;;) {
      const Reached& reached = reached_.at(*at);
      if (reached.before == nullptr) break;
      Move move{reached.kind,
                {},
                reached.from_dim,
                reached.to_dim,
                spec_of(*reached.before, shape_.size()),
                spec_of(*at, shape_.size())};
      for (const char axis : reached.axes) move.axes.push_back(axis_of(axis));
      moves.push_back(std::move(move));
      at = reached.before;
    }
    std::reverse(moves.begin(), moves.end());
    return moves;
  }

  const Shape& shape_;
  double element_;
  Code target_;
  std::vector<std::size_t> target_begins_;
  const DeviceMesh& mesh_;
  std::map<Code, Reached> reached_;
  double best_ = kNever;  ///< cost of reaching the target so far
  // The layout whose neighbours are being found:
  const Code* code_ = nullptr;
  const Reached* here_ = nullptr;
  std::vector<std::size_t> begins_;
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
