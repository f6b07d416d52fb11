#include "alpa/config/schema.hpp"

#include <algorithm>

#include "alpa/config/value_types.hpp"

#include "text_check.hpp"

namespace alpa {
namespace {

std::string described(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "nothing";
    case YamlNode::Kind::scalar:
      return node.quoted ? "the text \"" + shown(node.text) + "\"" : shown(node.text);
    case YamlNode::Kind::sequence:
      return "a list";
    case YamlNode::Kind::mapping:
      return "a mapping";
    case YamlNode::Kind::invalid:
      return "a mistake";
  }
  return "?";
}

}  // namespace

Cursor Cursor::item(std::size_t index) const {
  const bool mapping = node.kind == YamlNode::Kind::mapping;
  return {node.items[index],
          mapping ? path_of_key(path, node.keys[index].text) : path_of_item(path, index), errors};
}

void Cursor::refuse(const std::string& otherwise) const { refuse(described(node), otherwise); }

void Cursor::refuse(const std::string& found, const std::string& otherwise) const {
  if (node.kind == YamlNode::Kind::invalid) return;
  const std::string& wanted = expected.empty() ? otherwise : expected;
  std::string message = "found " + found + ", expected " + wanted;
  const std::string near = nearest_word(node.text, words);
  if (!near.empty()) message += " (did you mean " + near + "?)";
  errors.add(node.place, path, message);
}

void refuse_unknown_keys(const Cursor& mapping, const std::vector<std::string>& known) {
  for (const YamlKey& entry : mapping.node.keys) {
    if (std::find(known.begin(), known.end(), entry.text) != known.end()) continue;
    const std::string near = nearest_word(entry.text, known);
    std::string message = "found an unknown key, expected ";
    message += known.empty() ? "no key" : detail::joined_words(known);
    if (!near.empty()) message += " (did you mean " + near + "?)";
    mapping.errors.add(entry.place, path_of_key(mapping.path, entry.text), message);
  }
}

}  // namespace alpa
