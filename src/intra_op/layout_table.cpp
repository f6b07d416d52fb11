#include "layout_table.hpp"

#include <algorithm>

#include "alpa/sharding/arrival_layout.hpp"
#include "alpa/simulate/move_time.hpp"

namespace alpa::intra_op {
namespace {

/// Axes of one device split nothing: no move takes anything over them.
ShardingSpec without_single_axes(ShardingSpec spec, const DeviceMesh& mesh) {
  const auto single = [&](MeshAxis axis) { return extent(mesh, axis) == 1; };
  for (auto& axes : spec.dim_axes) std::erase_if(axes, single);
  std::erase_if(spec.partial_axes, single);
  if (spec.partial_axes.empty()) spec.partial_op = ReduceOp::sum;
  std::erase_if(spec.margins, [&](const auto& margin) {
    return spec.dim_axes[static_cast<std::size_t>(margin.dim)].empty();
  });
  return spec;
}

}  // namespace

int LayoutTable::number(const ShardingSpec& spec) {
  const std::scoped_lock lock(mutex_);
  const auto& extents = costs_.mesh().extents;
  if (std::find(extents.begin(), extents.end(), 1) == extents.end()) return number_locked(spec);
  return number_locked(without_single_axes(spec, costs_.mesh()));
}

int LayoutTable::number_locked(const ShardingSpec& spec) {
  const int id = redistributions_.number(spec);
  if (static_cast<std::size_t>(id) < layouts_.size()) return id;
  const DeviceMesh& mesh = costs_.mesh();
  const Box box = local_box(shape_, spec, mesh, num_devices(mesh) - 1);
  layouts_.push_back({spec, bytes_of(box.extent, dtype_).value});
  Layout& added = layouts_.back();
  added.arrival = number_locked(without_single_axes(arrival_layout(shape_, spec, mesh), mesh));
  added.whole = number_locked(without_partial(spec));
  return id;
}

const ShardingSpec& LayoutTable::spec(int layout) const {
  const std::scoped_lock lock(mutex_);
  return layouts_[static_cast<std::size_t>(layout)].spec;
}

std::int64_t LayoutTable::bytes(int layout) const {
  const std::scoped_lock lock(mutex_);
  return layouts_[static_cast<std::size_t>(layout)].bytes;
}

std::vector<std::int64_t> LayoutTable::bytes(std::span<const int> layouts) const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::int64_t> all;
  all.reserve(layouts.size());
  for (const int l : layouts) all.push_back(layouts_[static_cast<std::size_t>(l)].bytes);
  return all;
}

int LayoutTable::arrival(int layout) const {
  const std::scoped_lock lock(mutex_);
  return layouts_[static_cast<std::size_t>(layout)].arrival;
}

int LayoutTable::whole(int layout) const {
  const std::scoped_lock lock(mutex_);
  return layouts_[static_cast<std::size_t>(layout)].whole;
}

LayoutTable::Path& LayoutTable::path_locked(int from, int to) {
  auto& paths = layouts_[static_cast<std::size_t>(from)].paths;
  const auto target = static_cast<std::size_t>(to);
  if (target >= paths.size()) paths.resize(layouts_.size());
  Path& path = paths[target];
  if (!path.known && from != to) path.price = price_of(from, to);
  path.known = true;
  return path;
}

PathPrice LayoutTable::price_of(int from, int to) {
  PathPrice price;
  const std::vector<int>& moves = redistributions_.path(from, to);
  const auto kind = [&](std::size_t m) { return redistributions_.kind(moves[m]); };
  for (std::size_t m = 0; m < moves.size(); ++m) {
    price.seconds += seconds_of(moves[m]);
    price.reads = price.reads && kind(m) != Move::Kind::to_partial;
  }
  price.one_move = moves.size() == 1 && kind(0) != Move::Kind::margins;
  price.overwrites = !moves.empty() && kind(0) == Move::Kind::all_reduce;
  if (!price.overwrites) return price;
  std::size_t last = 0;
  while (last + 1 < moves.size() && kind(last + 1) == Move::Kind::all_reduce) ++last;
  price.reduced = number_locked(redistributions_.move(moves[last]).after);
  const DeviceMesh& mesh = costs_.mesh();
  const ShardingSpec after = redistributions_.move(moves[0]).after;
  const Box box = local_box(shape_, after, mesh, num_devices(mesh) - 1);
  price.copy_seconds = copy_time(box.extent, dtype_, costs_).value;
  return price;
}

double LayoutTable::seconds_of(int move) {
  const auto m = static_cast<std::size_t>(move);
  if (m >= move_seconds_.size()) move_seconds_.resize(m + 1, -1.0);
  if (move_seconds_[m] < 0.0) {
    move_seconds_[m] = move_time(shape_, dtype_, redistributions_.move(move), costs_).value;
  }
  return move_seconds_[m];
}

PathPrice LayoutTable::path(int from, int to) {
  const std::scoped_lock lock(mutex_);
  return path_locked(from, to).price;
}

double LayoutTable::seconds_of_parts(int from, int to, int parts) {
  double seconds = 0.0;
  for (const int move : redistributions_.path(from, to, parts)) seconds += seconds_of(move);
  return seconds;
}

double LayoutTable::least_seconds(int from, int to) {
  const std::scoped_lock lock(mutex_);
  return least_locked(from, to);
}

double LayoutTable::least_locked(int from, int to) {
  Path& path = path_locked(from, to);
  if (path.least >= 0.0) return path.least;
  const double whole = path.least = path.price.seconds;
  // A move that no two make cheaper stays so where each move is charged more.
  if (from == to || path.price.one_move) return whole;
  for (int parts = kMostJoined; parts > 1; parts /= 2) {
    const double seconds = seconds_of_parts(from, to, parts);
    // A path's cost is linear in the charge: what is best at both ends is so between them.
    if (seconds == whole) break;
    path.least = std::min(path.least, seconds);
  }
  return path.least;
}

std::vector<PathPrice> LayoutTable::paths(std::span<const int> from, std::span<const int> to,
                                          bool joined) {
  const std::scoped_lock lock(mutex_);
  std::vector<PathPrice> prices;
  prices.reserve(from.size() * to.size());
  for (const int f : from) {
    for (const int t : to) {
      prices.push_back(path_locked(f, t).price);
      if (joined) prices.back().seconds = least_locked(f, t);
    }
  }
  return prices;
}

LayoutTable& LayoutTables::of(const Shape& shape, DType dtype, const MeshCosts& costs) {
  const std::scoped_lock lock(mutex_);
  auto& table = tables_[Key(costs.key(), shape, dtype)];
  if (!table) {
    auto& kept = costs_[costs.key()];
    if (!kept) kept = std::make_unique<const MeshCosts>(costs);
    table = std::make_unique<LayoutTable>(shape, dtype, *kept);
  }
  return *table;
}

}  // namespace alpa::intra_op
