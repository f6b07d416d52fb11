#include "alpa/simulate/move_time.hpp"

#include <array>
#include <string>

#include "alpa/base/error.hpp"
#include "alpa/graph/kernel_work.hpp"
#include "alpa/lowering/move_parts.hpp"

namespace alpa {
namespace {

Seconds kernel_seconds(const KernelWork& work, const MeshCosts& costs) {
  return costs.kernel(work.kind, work.dtype, work.flops, work.moved);
}

class MoveTime {
 public:
  MoveTime(const Shape& shape, DType dtype, const Move& move, const MeshCosts& costs)
      : shape_(shape),
        dtype_(dtype),
        move_(move),
        costs_(costs),
        last_(num_devices(costs.mesh()) - 1),
        members_(devices_along(costs.mesh(), last_, move.axes)),
        before_(box(move.before, last_)),
        after_(box(move.after, last_)),
        even_(splits_evenly(move.before) && splits_evenly(move.after)) {}

  [[nodiscard]] Seconds run() const {
    if (members_.size() == 1) return {0.0};
    switch (move_.kind) {
      case Move::Kind::all_reduce:
        return costs_.all_reduce(bytes_of(after_.extent, dtype_), move_.axes);
      case Move::Kind::all_gather:
        return costs_.all_gather(bytes_of(after_.extent, dtype_), move_.axes) +
               copies(move_.before, after_, move_.from_dim);
      case Move::Kind::reduce_scatter:
        return costs_.reduce_scatter(bytes_of(before_.extent, dtype_), move_.axes) +
               copies(move_.after, before_, move_.to_dim);
      case Move::Kind::all_to_all:
        return transpose();
      case Move::Kind::margins:
        return margins();
      case Move::Kind::slice:
        return copy(after_);
      case Move::Kind::to_partial:
        return fill();  // the last device of a split axis is not its first
    }
    check_failed("known move", SourceLine::here());
  }

 private:
  [[nodiscard]] Box box(const ShardingSpec& spec, int index) const {
    return local_box(shape_, spec, costs_.mesh(), index);
  }

  /// All pieces have one size and lie alike.
  [[nodiscard]] bool splits_evenly(const ShardingSpec& spec) const {
    if (!spec.margins.empty()) return false;
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      std::int64_t parts = 1;
      for (const MeshAxis axis : spec.dim_axes[d]) parts *= extent(costs_.mesh(), axis);
      if (shape_[d] % parts != 0) return false;
    }
    return true;
  }

  [[nodiscard]] Seconds copy(const Box& part) const {
    return is_empty(part) ? Seconds{0.0} : copy_time(part.extent, dtype_, costs_);
  }

  /// Of every member's piece to or from its place in the whole.
  [[nodiscard]] Seconds copies(const ShardingSpec& pieces, const Box& whole, int dim) const {
    Seconds sum{0.0};
    if (is_outermost(whole, dim)) return sum;
    if (even_) return copy(box(pieces, last_)) * static_cast<double>(members_.size());
    for (const int index : members_) sum += copy(box(pieces, index));
    return sum;
  }

  [[nodiscard]] Seconds transpose() const {
    Seconds sum = costs_.all_to_all(bytes_of(before_.extent, dtype_), move_.axes);
    if (even_) {
      const Seconds out = copy(intersect(before_, box(move_.after, last_)));
      const Seconds in = copy(intersect(box(move_.before, last_), after_));
      return sum + (out + in) * static_cast<double>(members_.size());
    }
    for (const int index : members_) {
      sum += copy(intersect(before_, box(move_.after, index)));
      sum += copy(intersect(box(move_.before, index), after_));
    }
    return sum;
  }

  /// Its own piece is copied; the margins come from the other members.
  [[nodiscard]] Seconds margins() const {
    Seconds sum = copy(before_);
    Bytes sent{0};
    for (const int index : members_) {
      if (index == last_) continue;
      const Box out = intersect(before_, box(move_.after, index));
      sent += bytes_of(out.extent, dtype_);
      sum += copy(out) + copy(intersect(box(move_.before, index), after_));
    }
    return sum + costs_.all_to_all(sent, move_.axes);
  }

  [[nodiscard]] Seconds fill() const {
    const std::array<KernelPiece, 1> piece{KernelPiece{dtype_, after_.extent}};
    return kernel_seconds(work_of(Fill{}, {}, piece, {0.0}), costs_);
  }

  const Shape& shape_;
  DType dtype_;
  const Move& move_;
  const MeshCosts& costs_;
  int last_;
  std::vector<int> members_;
  Box before_, after_;
  bool even_;
};

}  // namespace

Seconds move_time(const Shape& shape, DType dtype, const Move& move, const MeshCosts& costs) {
  return MoveTime(shape, dtype, move, costs).run();
}

Seconds copy_time(const Shape& extent, DType dtype, const MeshCosts& costs) {
  // Most kernels that are priced are copies.
  static const std::string kind = kernel_kind(CopyBox{});
  return costs.kernel(kind, dtype, {0.0}, 2 * bytes_of(extent, dtype));
}

}  // namespace alpa
