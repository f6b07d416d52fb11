#include "alpa/graph/glob.hpp"

#include <cctype>

namespace alpa {
namespace {

/// The usual matcher that remembers the last star: linear in practice, never exponential.
bool matches_whole(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

bool glob_matches_whole(std::string_view pattern, std::string_view name) {
  return matches_whole(pattern, name);
}

bool glob_matches(std::string_view pattern, std::string_view name) {
  if (matches_whole(pattern, name)) return true;
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos;
       dot = name.find('.', dot + 1)) {
    if (matches_whole(pattern, name.substr(0, dot))) return true;
  }
  return false;
}

std::string without_numbers(const std::string& name) {
  std::string text;
  for (const char c : name) {
    const bool digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    const bool after_dot = text.empty() || text.back() == '.' || text.back() == '*';
    if (!digit || !after_dot) {
      text += c;
    } else if (text.empty() || text.back() != '*') {
      text += '*';
    }
  }
  return text;
}

}  // namespace alpa
