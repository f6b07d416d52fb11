#pragma once

#include <cstdint>
#include <string_view>

namespace alpa {

/// FNV-1a of a text that comes in pieces: equal on every machine, however it is cut.
class TextHash {
 public:
  void add(std::string_view text) {
    std::uint64_t h = value_;
    for (const char ch : text) {
      h ^= static_cast<unsigned char>(ch);
      h *= 0x100000001b3ULL;
    }
    value_ = h;
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

}  // namespace alpa
