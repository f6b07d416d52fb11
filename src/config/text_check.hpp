#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace alpa {

/// A character that no configuration may hold.
struct BadCharacter {
  int line;    ///< from 1
  int column;  ///< from 1, in characters
  std::string found;
};

/// First byte that is not UTF-8, or control character other than tab, line feed, carriage return.
[[nodiscard]] std::optional<BadCharacter> find_bad_character(std::string_view text);

/// Characters of valid UTF-8.
[[nodiscard]] std::size_t count_characters(std::string_view text);

/// Offset of the first byte of each line; at least one.
[[nodiscard]] std::vector<std::size_t> line_starts(std::string_view text);

/// For messages: control characters escaped, cut after about 60 bytes.
[[nodiscard]] std::string shown(std::string_view text);

}  // namespace alpa
