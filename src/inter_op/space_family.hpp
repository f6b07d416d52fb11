#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <vector>

#include "border_traffic.hpp"
#include "fitting_bound.hpp"
#include "least_bytes.hpp"
#include "space_bound.hpp"

namespace alpa {

/// A mesh at one of the places where it costs the same: bounds of a smaller number of microbatches,
/// which hold for several, and of the family's own.
struct SpaceBound::OnMesh {
  int first_device = 0;
  DeviceMesh mesh;
  std::shared_ptr<MeshBounds> shared, own;
  double times = 1.0;  ///< microbatches to one of `shared`

  [[nodiscard]] double step(const Stage& stage) const {
    const double depth = stage.depth;
    return std::max(shared->step({stage.first, stage.last, depth / times}),
                    own->step({stage.first, stage.last, depth}));
  }
  /// Changes with whatever is known.
  [[nodiscard]] std::int64_t looks() const { return shared->looks() + own->looks(); }
  [[nodiscard]] double each(const Stage& stage) const {
    return std::max(shared->each(stage.first, stage.last) / times,
                    own->each(stage.first, stage.last));
  }
};

struct SpaceBound::OfSize {
  int size = 0;
  double share = 1.0;        ///< the least of its meshes
  double room = 0.0;         ///< the most bytes of all its devices
  std::vector<double> once;  ///< [layer] of those before it, once a step
  /// [layer] of those before it, computing nothing again: kernels of a step, of backward of a
  /// microbatch
  std::vector<double> floor, backward;
  FittingBound fitting;
  std::vector<int> places;    ///< devices at which it may begin
  std::vector<Lanes> behind;  ///< [place] to the next stage
  std::vector<OnMesh> meshes;

  /// Seconds of a step, of forward and backward of a microbatch, and of backward alone.
  struct Least {
    double step = 0.0, each = 0.0, backward = 0.0;
  };
  [[nodiscard]] std::int64_t looks() const {
    std::int64_t all = 0;
    for (const OnMesh& on : meshes) all += on.looks();
    return all;
  }
  [[nodiscard]] Least least(const Stage& stage, int microbatches) const {
    const double all = fitting.of(stage.first, stage.last, stage.depth, room);
    if (std::isinf(all)) return {all, all, all};
    const auto sum = [&](const std::vector<double>& sums) {
      return sums[static_cast<std::size_t>(stage.last) + 1] -
             sums[static_cast<std::size_t>(stage.first)];
    };
    // What is computed again, backward does.
    const double again = (all - sum(floor)) / microbatches;
    const Least by_kernels{share * all, share * (all - sum(once)) / microbatches,
                           share * (sum(backward) + std::max(0.0, again))};
    Least least{std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(),
                by_kernels.backward};
    for (const OnMesh& on : meshes) {
      least.step = std::min(least.step, std::max(by_kernels.step, on.step(stage)));
      least.each = std::min(least.each, std::max(by_kernels.each, on.each(stage)));
    }
    return least;
  }
};

/// What stages of a family take at the least, each found once as long as nothing more is known.
class SpaceBound::Leasts {
 public:
  explicit Leasts(int layers) : layers_(layers) {}

  /// From now on with what is known now.
  void begin() { ++state_; }
  [[nodiscard]] const OfSize::Least& of(const Family& family, const Stage& stage);

 private:
  struct OfSizeSoFar {
    int state = 0;  ///< in which it was last compared with what is known
    std::int64_t looks = -1;
    std::map<int, std::vector<std::vector<OfSize::Least>>> by_depth;  ///< [first][length - 1]
  };
  int layers_;
  int state_ = 0;
  std::vector<OfSizeSoFar> by_size_;
};

/// Plans of one number of microbatches.
struct SpaceBound::Family {
  int microbatches = 1;
  BorderTraffic traffic;  ///< of one microbatch
  std::shared_ptr<const LeastBytes> bytes;
  std::vector<int> depths;  ///< that are told apart
  std::vector<OfSize> sizes;
  std::unique_ptr<Leasts> leasts;
  double bound = 0.0;
  int seen = -1;              ///< layers that were solved when it was found
  std::vector<Stage> stages;  ///< of the structure that takes no more than `bound`
};

}  // namespace alpa
