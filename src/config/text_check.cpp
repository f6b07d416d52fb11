#include "text_check.hpp"

#include <algorithm>
#include <cstdint>

namespace alpa {
namespace {

constexpr std::size_t kBlock = 64;  ///< bytes between two counts of TextIndex

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

TextIndex::TextIndex(std::string_view text) : text_(text), line_starts_{0} {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i % kBlock == 0) counts_.push_back(characters);
    if (!is_continuation(text[i])) ++characters;
    if (text[i] == '\n') line_starts_.push_back(i + 1);
  }
}

int TextIndex::column(std::size_t line, std::size_t offset) const {
  const std::size_t start = line_starts_[line];
  const std::size_t byte = std::min(text_.size(), start + offset);
  return 1 + static_cast<int>(characters_before(byte) - characters_before(start));
}

std::string_view TextIndex::from(std::size_t line, std::size_t offset) const {
  return text_.substr(std::min(text_.size(), line_starts_[line] + offset));
}

bool closes_quote(std::string_view text) {
  if (text.empty() || (text[0] != '"' && text[0] != '\'')) return true;
  const char quote = text[0];
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 == text.size() || text[i + 1] != quote) return true;
      ++i;  // two single quotes stand for one
    }
  }
  return false;
}

bool is_indented_by_tab(std::string_view text) {
  return text.substr(0, text.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
}

std::size_t TextIndex::characters_before(std::size_t byte) const {
  if (counts_.empty()) return 0;
  const std::size_t block = std::min(byte / kBlock, counts_.size() - 1);
  return counts_[block] + count_characters(text_.substr(block * kBlock, byte - block * kBlock));
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
