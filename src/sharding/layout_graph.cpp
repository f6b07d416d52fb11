#include "layout_graph.hpp"

#include <algorithm>
#include <utility>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

constexpr double kCollectiveCharge = 4096.0;  // bytes; prefers one collective over two small ones
constexpr double kCopyShare = 0.01;           // a local copy against the same bytes on a link

bool is_partial(const std::string& code) {
  return code.size() > 2 && code[code.size() - 3] != '\0';
}

}  // namespace

double ceiling_share(std::int64_t elements, std::int64_t parts) {
  return static_cast<double>((elements + parts - 1) / parts);
}

MoveCost cost_of(Move::Kind kind, double n, double before, double after) {
  const double share = (n - 1) / n;
  switch (kind) {
    case Move::Kind::all_reduce:
      return {kCollectiveCharge, 2 * share * before};
    case Move::Kind::reduce_scatter:
      return {kCollectiveCharge, share * before};
    case Move::Kind::all_gather:
      return {kCollectiveCharge, share * after};
    case Move::Kind::all_to_all:
      return {kCollectiveCharge, share * before};
    case Move::Kind::margins:
      return {kCollectiveCharge, (after - before) + kCopyShare * after};
    case Move::Kind::slice:
    case Move::Kind::to_partial:
      return {1.0, kCopyShare * after};
  }
  check_failed("known move", SourceLine::here());
}

LayoutGraph::LayoutGraph(Shape shape, DType dtype, DeviceMesh mesh)
    : shape_(std::move(shape)),
      element_(static_cast<double>(size_of(dtype))),
      mesh_(std::move(mesh)) {
  ALPA_CHECK(mesh_.extents.size() <= kMostAxes);
  ALPA_CHECK(shape_.size() + 2 <= kMostSegments);
}

int LayoutGraph::place_of(const ShardingSpec& spec) {
  ALPA_CHECK(spec.dim_axes.size() == shape_.size());
  Code code;
  for (const auto& axes : spec.dim_axes) {
    for (const MeshAxis axis : axes) code += letter(axis);
    code += '\0';
  }
  for (const MeshAxis axis : spec.partial_axes) code += letter(axis);
  code += '\0';
  code += static_cast<char>(spec.partial_op);
  return place_of(std::move(code));
}

int LayoutGraph::place_of(Code code) {
  const auto next = static_cast<int>(places_.size());
  const auto [it, is_new] = numbers_.try_emplace(std::move(code), next);
  if (is_new) {
    Place& place = places_.emplace_back();
    place.code = it->first;
    place.bytes = bytes_of_piece(place.code);
    place.towards.assign((shape_.size() + 1) * mesh_.extents.size(), kUnknown);
    place.features = features_of(place.code);
  }
  return it->second;
}

bool LayoutGraph::is_before(int place, int other) const { return at(place).code < at(other).code; }

ShardingSpec LayoutGraph::spec_of(int place) const {
  const Code& code = at(place).code;
  ShardingSpec spec;
  spec.dim_axes.resize(shape_.size());
  std::size_t i = 0;
  for (auto& axes : spec.dim_axes) {
    for (; code[i] != '\0'; ++i) axes.push_back(axis_of(code[i]));
    ++i;
  }
  for (; code[i] != '\0'; ++i) spec.partial_axes.push_back(axis_of(code[i]));
  spec.partial_op = static_cast<ReduceOp>(code.back());
  return spec;
}

double LayoutGraph::bytes_of_piece(const Code& code) const {
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

std::vector<int> LayoutGraph::features_of(const Code& code) const {
  std::vector<int> features;
  const bool sum = code.back() == static_cast<char>(ReduceOp::sum);
  const auto axes = static_cast<int>(mesh_.extents.size());
  std::size_t i = 0;
  for (std::size_t s = 0; s <= shape_.size(); ++s, ++i) {
    for (; code[i] != '\0'; ++i) {
      if (s == shape_.size() && !sum) continue;
      features.push_back(static_cast<int>(s) * axes + axis_of(code[i]));
    }
  }
  return features;
}

const std::vector<int>& LayoutGraph::features(int place) const { return at(place).features; }

Move LayoutGraph::move(const Arc& arc) const {
  Move move{.kind = arc.kind,
            .axes = {},
            .from_dim = arc.from_dim,
            .to_dim = arc.to_dim,
            .before = spec_of(arc.before),
            .after = spec_of(arc.after)};
  for (MeshAxis axis = 0; arc.axes >> axis != 0; ++axis) {
    if ((arc.axes >> axis & 1) != 0) move.axes.push_back(axis);
  }
  return move;
}

LayoutGraph::Range LayoutGraph::arcs_from(int place) {
  if (at(place).arcs.begin == kUnknown) {
    look_at(place);
    const auto begin = static_cast<int>(arcs_.size());
    resolve_partial();
    gather_and_exchange();
    at(place).arcs = {begin, static_cast<int>(arcs_.size())};
  }
  return at(place).arcs;
}

int LayoutGraph::arc_towards(int place, int feature) {
  const auto f = static_cast<std::size_t>(feature);
  if (at(place).towards[f] == kUnknown) {
    look_at(place);
    const auto next = static_cast<int>(arcs_.size());
    const std::size_t axes = mesh_.extents.size();
    cut_or_mask(f / axes, letter(static_cast<MeshAxis>(f % axes)));
    at(place).towards[f] = arcs_.size() > static_cast<std::size_t>(next) ? next : kNowhere;
  }
  return at(place).towards[f];
}

void LayoutGraph::look_at(int place) {
  here_ = place;
  code_ = at(place).code;
  for (std::size_t i = 0, segment = 1; segment < shape_.size() + 2; ++i) {
    if (code_[i] == '\0') begins_[segment++] = i + 1;
  }
}

LayoutGraph::Code LayoutGraph::axes_of(std::size_t segment) const {
  return code_.substr(begins_[segment], end_of(segment) - begins_[segment]);
}

/// The code with other partial axes and, where `dim` is one, more axes at the end of it.
LayoutGraph::Code LayoutGraph::changed(const Code& partial, std::size_t dim,
                                       const Code& more) const {
  Code after = code_;
  after.replace(begins_[shape_.size()], axes_of(shape_.size()).size(), partial);
  if (dim < shape_.size()) after.insert(end_of(dim), more);
  return after;
}

void LayoutGraph::add(Move::Kind kind, const Code& axes, int from_dim, int to_dim, Code after) {
  if (!is_partial(after)) after.back() = static_cast<char>(ReduceOp::sum);
  const int place = place_of(std::move(after));
  const double bytes = at(place).bytes;
  if (bytes < 0.0) return;
  double n = 1;
  unsigned bits = 0;
  for (const char axis : axes) {
    n *= extent(mesh_, axis_of(axis));
    bits |= 1U << axis_of(axis);
  }
  arcs_.push_back({cost_of(kind, n, at(here_).bytes, bytes), here_, place, from_dim, to_dim,
                   static_cast<std::uint16_t>(bits), kind});
}

void LayoutGraph::resolve_partial() {
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

void LayoutGraph::gather_and_exchange() {
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

void LayoutGraph::cut_or_mask(std::size_t segment, char axis) {
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

}  // namespace alpa
