#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace alpa::intra_op {

/// Different layouts, in the order in which they were added. The first few take no memory of their
/// own.
class LayoutList {
 public:
  void add(int layout) {
    if (std::find(begin(), end(), layout) != end()) return;
    if (size_ < few_.size()) {
      few_[size_] = layout;
    } else {
      if (many_.empty()) many_.assign(few_.begin(), few_.end());
      many_.push_back(layout);
    }
    ++size_;
  }
  [[nodiscard]] const int* begin() const { return many_.empty() ? few_.data() : many_.data(); }
  [[nodiscard]] const int* end() const { return begin() + size_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] int front() const { return *begin(); }
  [[nodiscard]] bool contains(int layout) const {
    return std::find(begin(), end(), layout) != end();
  }
  friend bool operator==(const LayoutList& a, const LayoutList& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  std::array<int, 3> few_{};
  std::size_t size_ = 0;
  std::vector<int> many_;  ///< all, once they are more
};

}  // namespace alpa::intra_op
