#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "alpa/base/dtype.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/cluster/mesh_costs.hpp"
#include "alpa/intra_op/stage_model.hpp"
#include "alpa/sharding/redistribution.hpp"
#include "alpa/sharding/sharding_spec.hpp"

namespace alpa::intra_op {

/// What it takes to bring a tensor from one layout into another.
struct PathPrice {
  double seconds = 0.0;       ///< an all-reduce at its beginning in place
  bool overwrites = false;    ///< it begins so
  double copy_seconds = 0.0;  ///< on top where it may not overwrite its source
  bool reads = true;          ///< the source's values; the last device may only write zeros
  int reduced = -1;           ///< layout of the source after its all-reduces in place
  bool one_move = false;
};

/// Layouts of the tensors of one shape and dtype on one mesh, numbered, with the prices of the
/// paths between them, each found once. Threads may ask at once.
class LayoutTable {
 public:
  LayoutTable(Shape shape, DType dtype, const MeshCosts& costs)
      : shape_(std::move(shape)),
        dtype_(dtype),
        costs_(costs),
        redistributions_(shape_, dtype, costs.mesh()) {}

  /// Layouts that differ in axes of one device have one number.
  [[nodiscard]] int number(const ShardingSpec& spec);
  [[nodiscard]] const ShardingSpec& spec(int layout) const;
  /// Bytes of the last device's piece, which is the largest.
  [[nodiscard]] std::int64_t bytes(int layout) const;
  [[nodiscard]] std::vector<std::int64_t> bytes(std::span<const int> layouts) const;
  /// Layout in which the tensor arrives from another mesh if it is first wanted so.
  [[nodiscard]] int arrival(int layout) const;
  /// The layout without its partial axes.
  [[nodiscard]] int whole(int layout) const;

  [[nodiscard]] PathPrice path(int from, int to);
  /// Seconds of the fastest of the paths that the tensor and its equal parts take, up to
  /// kMostJoined of them: no more than the parts take together.
  [[nodiscard]] double least_seconds(int from, int to);
  /// Prices from each to each, row-major.
  /// @param joined their seconds are least_seconds
  [[nodiscard]] std::vector<PathPrice> paths(std::span<const int> from, std::span<const int> to,
                                             bool joined = false);

 private:
  struct Path {
    PathPrice price;
    double least = -1.0;  ///< seconds; negative: not found yet
    bool known = false;
  };
  struct Layout {
    ShardingSpec spec;
    std::int64_t bytes = 0;
    int arrival = -1;
    int whole = -1;
    std::vector<Path> paths = {};  ///< by target
  };
  int number_locked(const ShardingSpec& spec);
  Path& path_locked(int from, int to);
  double least_locked(int from, int to);
  [[nodiscard]] PathPrice price_of(int from, int to);
  /// Seconds of a move of the redistributions.
  double seconds_of(int move);
  /// Of the path that the tensor's equal parts take.
  [[nodiscard]] double seconds_of_parts(int from, int to, int parts);

  Shape shape_;
  DType dtype_;
  const MeshCosts& costs_;
  mutable std::mutex mutex_;
  Redistributions redistributions_;
  std::deque<Layout> layouts_;        ///< as the redistributions number them
  std::vector<double> move_seconds_;  ///< by number; negative: not known yet
};

/// The tables of several graphs and meshes: tensors of one shape and dtype share one wherever the
/// prices are equal. Threads may ask at once.
class LayoutTables {
 public:
  /// @param costs of one cluster; not kept
  [[nodiscard]] LayoutTable& of(const Shape& shape, DType dtype, const MeshCosts& costs);

 private:
  using Key = std::tuple<std::string, Shape, DType>;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<const MeshCosts>> costs_;  ///< by key
  std::map<Key, std::unique_ptr<LayoutTable>> tables_;
};

}  // namespace alpa::intra_op
