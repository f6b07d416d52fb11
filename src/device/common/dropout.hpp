#pragma once

#include <cstdint>

#include "alpa/base/random.hpp"
#include "alpa/device/device.hpp"

#include "common/element.hpp"

namespace alpa::kernels {

/// Dropout of one launch: what an element is multiplied by.
class DropoutMask {
 public:
  DropoutMask(const DropoutAttributes& attributes, const Piece& step, const Piece& training)
      : attributes_(attributes),
        step_(static_cast<std::uint64_t>(scalar(step))),
        active_(attributes.probability > 0.0 && scalar(training) != 0.0) {}

  [[nodiscard]] bool active() const { return active_; }
  [[nodiscard]] std::uint64_t key() const { return attributes_.key; }
  [[nodiscard]] std::uint64_t step() const { return step_; }
  [[nodiscard]] double probability() const { return attributes_.probability; }
  /// What kept elements are multiplied by.
  [[nodiscard]] double scale() const { return active_ ? 1.0 / (1.0 - probability()) : 1.0; }

  /// 0 or scale(), for the element with this global index.
  [[nodiscard]] double factor(std::int64_t index) const {
    if (!active_) return 1.0;
    const bool kept =
        uniform(attributes_.key, step_, static_cast<std::uint64_t>(index)) >= probability();
    return kept ? scale() : 0.0;
  }

 private:
  DropoutAttributes attributes_;
  std::uint64_t step_;
  bool active_;
};

}  // namespace alpa::kernels
