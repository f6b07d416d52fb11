#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

#include "alpa/program/program.hpp"

namespace alpa::verification {

/// What lies in some bytes of the arena.
struct Tag {
  int buffer = -1;
  int epoch = 0;  ///< microbatch, call or step of the value: see check_values
  int version = 0;
  friend bool operator==(const Tag&, const Tag&) = default;
};

/// Byte ranges with tags; bytes never written have none. O(log n) a piece.
class ByteMap {
 public:
  void write(ByteRange range, const Tag& tag) {
    if (range.begin >= range.end) return;
    split(range.begin);
    split(range.end);
    auto next = pieces_.erase(pieces_.lower_bound(range.begin), pieces_.lower_bound(range.end));
    if (next != pieces_.end() && next->first == range.end && next->second.tag == tag) {
      range.end = next->second.end;
      next = pieces_.erase(next);
    }
    if (next != pieces_.begin()) {
      const auto before = std::prev(next);
      if (before->second.end == range.begin && before->second.tag == tag) {
        before->second.end = range.end;
        return;
      }
    }
    pieces_.emplace_hint(next, range.begin, Piece{range.end, tag});
  }

  /// Calls visit(tag or null) for each piece of the range, in order, until it returns false.
  template <class Visit>
  void visit(ByteRange range, const Visit& visit) const {
    if (range.begin >= range.end) return;
    auto it = pieces_.upper_bound(range.begin);
    if (it != pieces_.begin() && std::prev(it)->second.end > range.begin) --it;
    std::int64_t at = range.begin;
    for (; at < range.end && it != pieces_.end() && it->first < range.end; ++it) {
      if (it->first > at && !visit(nullptr)) return;
      if (!visit(&it->second.tag)) return;
      at = it->second.end;
    }
    if (at < range.end) visit(nullptr);
  }

 private:
  struct Piece {
    std::int64_t end = 0;
    Tag tag;
  };

  /// Makes `at` a border between pieces.
  void split(std::int64_t at) {
    auto it = pieces_.lower_bound(at);
    if (it == pieces_.begin()) return;
    --it;
    if (it->second.end <= at) return;
    const Piece right = it->second;
    it->second.end = at;
    pieces_.emplace_hint(std::next(it), at, right);
  }

  std::map<std::int64_t, Piece> pieces_;  ///< by begin
};

}  // namespace alpa::verification
