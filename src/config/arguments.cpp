#include "arguments.hpp"

#include <charconv>
#include <optional>

#include "text_check.hpp"

namespace alpa {
namespace {

using Kind = YamlNode::Kind;

struct Target {
  TextPlace place;  ///< of the key in the argument
  ConfigErrors& errors;
};

std::optional<std::size_t> index_of(std::string_view text) {
  std::size_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = status == std::errc() && end == text.data() + text.size();
  return whole ? std::optional<std::size_t>(value) : std::nullopt;
}

YamlNode empty_node(Kind kind, const TextPlace& place) {
  YamlNode node;
  node.kind = kind;
  node.place = place;
  return node;
}

YamlNode* element(YamlNode& list, std::string_view name, const std::string& path,
                  const Target& target) {
  const auto index = index_of(name);
  if (!index || *index > list.items.size()) {
    target.errors.add(target.place, path_of_key(path, name),
                      "found the key " + shown(name) + " in a list, expected an index from 0 to " +
                          std::to_string(list.items.size()));
    return nullptr;
  }
  if (*index == list.items.size()) list.items.push_back(empty_node(Kind::null, target.place));
  return &list.items[*index];
}

/// Places of a tree that stands in for what nobody wrote.
void set_places(YamlNode& node, const TextPlace& place) {
  node.place = place;
  for (YamlKey& entry : node.keys) entry.place = place;
  for (YamlNode& item : node.items) set_places(item, place);
}

/// The part of `node` called `name`, made if it is not there; null after reporting a mistake.
YamlNode* part(YamlNode& node, std::string_view name, const std::string& path,
               const YamlNode* default_node, const Target& target) {
  if (node.kind == Kind::invalid) return nullptr;
  if (node.kind == Kind::null && default_node != nullptr && default_node->kind == Kind::sequence &&
      index_of(name)) {
    node = *default_node;
    set_places(node, target.place);
  }
  if (node.kind == Kind::sequence) return element(node, name, path, target);
  if (node.kind != Kind::mapping) node = empty_node(Kind::mapping, target.place);
  if (YamlNode* found = node.find(name)) return found;
  node.keys.push_back({std::string(name), target.place});
  node.items.push_back(empty_node(Kind::null, target.place));
  return &node.items.back();
}

}  // namespace

void apply_argument(YamlNode& root, const std::string& argument, const YamlNode& defaults,
                    ConfigErrors& errors) {
  const std::string file = "argument " + shown(argument);
  const Target target{{std::make_shared<const std::string>(file), 1, 1}, errors};
  const std::size_t equals = argument.find('=');
  if (equals == std::string::npos || equals == 0) {
    errors.add(target.place, "", "found no key and value, expected section.key=value");
    return;
  }
  // Spaces instead of the key, so that columns count from the start of the argument.
  std::string text(equals + 1, ' ');
  text += argument.substr(equals + 1);
  YamlNode value = parse_yaml(text, file, errors);
  if (value.kind == Kind::invalid) return;

  YamlNode* node = &root;
  const YamlNode* default_node = &defaults;
  std::string path;
  std::string_view rest = std::string_view(argument).substr(0, equals);
  while (true) {
    const std::string_view name = rest.substr(0, rest.find('.'));
    if (name.empty()) {
      errors.add(target.place, path, "found an empty part of the key, expected section.key=value");
      return;
    }
    node = part(*node, name, path, default_node, target);
    if (node == nullptr) return;
    path = path_of_key(path, name);
    if (default_node != nullptr) default_node = default_node->find(name);
    if (name.size() == rest.size()) break;
    rest.remove_prefix(name.size() + 1);
  }
  *node = std::move(value);
}

}  // namespace alpa
