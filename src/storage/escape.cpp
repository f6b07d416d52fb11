#include "alpa/storage/escape.hpp"

#include <cstddef>

namespace alpa {
namespace {

constexpr std::string_view kHex = "0123456789ABCDEF";

bool is_plain(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

void append_hex(std::string& out, unsigned char c) {
  out += kHex[c >> 4U];
  out += kHex[c & 15U];
}

bool is_continuation(unsigned char c) { return (c & 0xC0U) == 0x80U; }

/// Bytes of the UTF-8 sequence of several bytes that begins with `lead`; 0 if none does.
std::size_t sequence_length(unsigned char lead) {
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xF0 && lead < 0xF5) return 4;
  return 0;
}

/// Length of the well-formed UTF-8 sequence of printable text that begins at `at`; 0 if there is
/// none.
std::size_t printable_length(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead >= 0x20 && lead < 0x7F) return 1;
  const std::size_t length = sequence_length(lead);
  if (length == 0 || at + length > text.size()) return 0;
  const auto second = static_cast<unsigned char>(text[at + 1]);
  if (lead == 0xC2 && second < 0xA0) return 0;  // C1 control codes
  if (lead == 0xE2 && second == 0x80) {         // direction marks and line separators
    const auto third = static_cast<unsigned char>(text[at + 2]);
    if (third >= 0x8E && third <= 0xAE) return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (!is_continuation(static_cast<unsigned char>(text[at + i]))) return 0;
  }
  return length;
}

}  // namespace

std::string escape_name(std::string_view name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    if (is_plain(c) && !(i == 0 && c == '.')) {
      out += name[i];
    } else {
      out += '=';
      append_hex(out, c);
    }
  }
  return out;
}

std::string unescape_name(std::string_view escaped) {
  std::string out;
  for (std::size_t i = 0; i < escaped.size(); ++i) {
    const bool is_escape = escaped[i] == '=' && i + 2 < escaped.size();
    const std::size_t high = is_escape ? kHex.find(escaped[i + 1]) : std::string_view::npos;
    const std::size_t low = is_escape ? kHex.find(escaped[i + 2]) : std::string_view::npos;
    if (high == std::string_view::npos || low == std::string_view::npos) {
      out += escaped[i];
      continue;
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = printable_length(text, i);
    if (length > 0) {
      out += text.substr(i, length);
      i += length;
    } else {
      out += "\\x";
      append_hex(out, static_cast<unsigned char>(text[i]));
      ++i;
    }
  }
  return out;
}

}  // namespace alpa
