#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"

namespace alpa {
namespace {

/// Words that some YAML reader takes for a boolean or for nothing.
constexpr std::array<std::string_view, 10> kSpecialWords = {"true", "false", "yes", "no",   "on",
                                                            "off",  "y",     "n",   "null", ""};

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

bool is_safe_plain(std::string_view text) {
  const std::string folded = lower(text);
  if (std::find(kSpecialWords.begin(), kSpecialWords.end(), folded) != kSpecialWords.end()) {
    return false;
  }
  const auto first = static_cast<unsigned char>(text.front());
  if (std::isalpha(first) == 0 && first != '_' && first != '/') return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '/' || c == '.' || c == '+' || c == '-';
  });
}

std::string key_text(const std::string& key) { return is_safe_plain(key) ? key : quoted_yaml(key); }

bool is_leaf(const YamlNode& node) {
  return node.kind == YamlNode::Kind::null || node.kind == YamlNode::Kind::scalar ||
         node.items.empty();
}

/// Written in one line: leaves, lists of such lists.
bool is_flow(const YamlNode& node) {
  if (is_leaf(node)) return true;
  return node.kind == YamlNode::Kind::sequence &&
         std::all_of(node.items.begin(), node.items.end(), is_flow);
}

std::string flow_text(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
    case YamlNode::Kind::invalid:
      return "null";
    case YamlNode::Kind::scalar:
      return node.quoted ? quoted_yaml(node.text) : node.text;
    case YamlNode::Kind::mapping:
      return "{}";
    case YamlNode::Kind::sequence:
      break;
  }
  std::string result = "[";
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    if (i > 0) result += ", ";
    result += flow_text(node.items[i]);
  }
  return result + "]";
}

/// Lines of a block; the first continues the line that is open, at column `indent`.
void write_block(const YamlNode& node, std::size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    if (i > 0) out += margin;
    const YamlNode& item = node.items[i];
    const bool in_list = node.kind == YamlNode::Kind::sequence;
    out += in_list ? "-" : key_text(node.keys[i].text) + ":";
    if (is_flow(item)) {
      out += " " + flow_text(item) + "\n";
    } else if (in_list) {
      out += " ";
      write_block(item, indent + 2, out);
    } else {
      out += "\n" + std::string(indent + 2, ' ');
      write_block(item, indent + 2, out);
    }
  }
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  const auto found = std::find_if(keys.begin(), keys.end(),
                                  [key](const YamlKey& entry) { return entry.text == key; });
  return found == keys.end() ? nullptr : &items[static_cast<std::size_t>(found - keys.begin())];
}

YamlNode* YamlNode::find(std::string_view key) {
  return const_cast<YamlNode*>(static_cast<const YamlNode*>(this)->find(key));
}

YamlNode YamlNode::plain(std::string text) {
  YamlNode node;
  node.kind = Kind::scalar;
  node.text = std::move(text);
  return node;
}

YamlNode YamlNode::of_text(std::string text) {
  YamlNode node = plain(std::move(text));
  node.quoted = !is_safe_plain(node.text);
  return node;
}

YamlNode YamlNode::sequence() {
  YamlNode node;
  node.kind = Kind::sequence;
  return node;
}

YamlNode YamlNode::mapping() {
  YamlNode node;
  node.kind = Kind::mapping;
  return node;
}

void YamlNode::set(std::string key, YamlNode value) {
  ALPA_CHECK(kind == Kind::mapping);
  keys.push_back({std::move(key), {}});
  items.push_back(std::move(value));
}

bool YamlNode::same_content(const YamlNode& other) const {
  if (kind != other.kind || text != other.text) return false;
  if (!std::equal(keys.begin(), keys.end(), other.keys.begin(), other.keys.end(),
                  [](const YamlKey& a, const YamlKey& b) { return a.text == b.text; })) {
    return false;
  }
  return std::equal(items.begin(), items.end(), other.items.begin(), other.items.end(),
                    [](const YamlNode& a, const YamlNode& b) { return a.same_content(b); });
}

std::string to_yaml(const YamlNode& node) {
  if (is_flow(node)) return flow_text(node) + "\n";
  std::string out;
  write_block(node, 0, out);
  return out;
}

std::string quoted_yaml(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20U || byte == 0x7FU) {
      result += "\\x";
      result += digits[byte >> 4U];
      result += digits[byte & 15U];
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string float_text(double value) {
  ALPA_CHECK(std::isfinite(value));
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  std::string text(buffer.data(), end);
  const std::size_t exponent = text.find('e');
  if (text.find('.') == std::string::npos) {
    text.insert(exponent == std::string::npos ? text.size() : exponent, ".0");
  }
  return text;
}

}  // namespace alpa
