#pragma once

#include <cstddef>
#include <optional>
#include <unordered_map>
#include <vector>

namespace alpa {

/// Values that are made once for equal questions. Of questions with one hash the answers of the
/// first few are kept.
template <class Value>
class Memo {
 public:
  /// @param same whether a value answers the question
  /// @param make a value that does
  /// @return valid until the next question
  template <class Same, class Make>
  const Value& of(std::size_t hash, const Same& same, const Make& make) {
    std::vector<Value>& known = known_[hash];
    for (const Value& value : known) {
      if (same(value)) return value;
    }
    if (known.size() < kMostOfOneHash) return known.emplace_back(make());
    return other_.emplace(make());
  }

 private:
  static constexpr std::size_t kMostOfOneHash = 16;
  std::unordered_map<std::size_t, std::vector<Value>> known_;
  std::optional<Value> other_;
};

/// The hash of a number behind what has been hashed before.
[[nodiscard]] inline std::size_t hash_with(std::size_t before, std::size_t next) {
  return (before ^ next) * std::size_t{0x9e3779b97f4a7c15ULL} + (before >> 29U);
}

}  // namespace alpa
