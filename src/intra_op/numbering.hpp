#pragma once

#include <vector>

namespace alpa::intra_op {

/// Different small numbers >= 0 in the order in which they were first added.
class Numbering {
 public:
  std::size_t add(int value) {
    const auto place = static_cast<std::size_t>(value);
    if (place >= index_.size()) index_.resize(place + 1, -1);
    if (index_[place] < 0) {
      index_[place] = static_cast<int>(values_.size());
      values_.push_back(value);
    }
    return static_cast<std::size_t>(index_[place]);
  }
  /// @pre it was added
  [[nodiscard]] std::size_t at(int value) const {
    return static_cast<std::size_t>(index_[static_cast<std::size_t>(value)]);
  }
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  [[nodiscard]] const std::vector<int>& values() const { return values_; }

 private:
  std::vector<int> index_;  ///< by value; -1: not there
  std::vector<int> values_;
};

}  // namespace alpa::intra_op
