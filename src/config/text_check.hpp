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

/// Finds columns in characters, also in very long lines, in constant time.
class TextIndex {
 public:
  explicit TextIndex(std::string_view text);

  /// Column from 1 of the byte `offset` (from 0) of the line `line` (from 0). Beyond the end of the
  /// text: just behind it.
  [[nodiscard]] int column(std::size_t line, std::size_t offset) const;
  [[nodiscard]] std::size_t lines() const { return line_starts_.size(); }
  /// The text from this byte of the line on.
  [[nodiscard]] std::string_view from(std::size_t line, std::size_t offset) const;

 private:
  /// Characters that start before this byte of the text.
  [[nodiscard]] std::size_t characters_before(std::size_t byte) const;

  std::string_view text_;
  std::vector<std::size_t> line_starts_;
  std::vector<std::size_t> counts_;  ///< characters before each block of bytes
};

/// Does the quoted scalar that starts `text` end? True if `text` starts with no quote.
[[nodiscard]] bool closes_quote(std::string_view text);

/// Do the blanks that start `text` hold a tab?
[[nodiscard]] bool is_indented_by_tab(std::string_view text);

/// For messages: control characters escaped, cut after about 60 bytes.
[[nodiscard]] std::string shown(std::string_view text);

}  // namespace alpa
