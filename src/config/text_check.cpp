#include "text_check.hpp"

#include <algorithm>
#include <cstdint>

namespace alpa {
namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

/// Length of the UTF-8 character that starts at `text`, 0 if it is none: cut short, longer than
/// needed, a surrogate, or beyond U+10FFFF.
std::size_t character_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80U) return 1;
  const std::size_t length = lead >= 0xF0U ? 4 : lead >= 0xE0U ? 3 : 2;
  if (lead < 0xC2U || lead > 0xF4U || text.size() < length) return 0;
  std::uint32_t code = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (!is_continuation(text[i])) return 0;
    code = code << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  if (length == 3 && (code < 0x800U || (code >= 0xD800U && code <= 0xDFFFU))) return 0;
  if (length == 4 && (code < 0x10000U || code > 0x10FFFFU)) return 0;
  return length;
}

std::string hex_of(char c) {
  constexpr std::string_view digits = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return {digits[byte >> 4U], digits[byte & 15U]};
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == 0x7FU || (byte < 0x20U && c != '\t' && c != '\n' && c != '\r');
}

}  // namespace

std::optional<BadCharacter> find_bad_character(std::string_view text) {
  int line = 1;
  int column = 1;
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    if (length == 0) return BadCharacter{line, column, "the byte 0x" + hex_of(text[0])};
    if (is_control(text[0])) {
      return BadCharacter{line, column, "the control character 0x" + hex_of(text[0])};
    }
    ++column;
    if (text[0] == '\n') {
      ++line;
      column = 1;
    }
    text.remove_prefix(length);
  }
  return std::nullopt;
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

std::vector<std::size_t> line_starts(std::string_view text) {
  std::vector<std::size_t> starts{0};
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') starts.push_back(i + 1);
  }
  return starts;
}

std::string shown(std::string_view text) {
  constexpr std::size_t kLimit = 60;
  std::string result;
  std::size_t used = 0;
  for (; used < text.size(); ++used) {
    const char c = text[used];
    if (used >= kLimit && !is_continuation(c)) break;
    if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (is_control(c) || c == '\r') {
      result += "\\x" + hex_of(c);
    } else {
      result += c;
    }
  }
  if (used < text.size()) result += "...";
  return result;
}

}  // namespace alpa
