#pragma once

#include <map>
#include <vector>

namespace alpa::intra_op {

/// Different numbers in the order in which they were first added.
class Numbering {
 public:
  std::size_t add(int value) {
    const auto [it, is_new] = index_.try_emplace(value, values_.size());
    if (is_new) values_.push_back(value);
    return it->second;
  }
  [[nodiscard]] std::size_t at(int value) const { return index_.at(value); }
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  [[nodiscard]] const std::vector<int>& values() const { return values_; }

 private:
  std::map<int, std::size_t> index_;
  std::vector<int> values_;
};

}  // namespace alpa::intra_op
