#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "alpa/config/yaml.hpp"

namespace alpa {

/// What `--help` says about one key.
struct KeyHelp {
  std::string path;  ///< below the section: `schedule.warmup`
  std::string type;
  std::string value;  ///< default, or "required"
  std::string help;
};

/// A node seen through its path. Mistakes go to `errors`, with what was expected there.
struct Cursor {
  const YamlNode& node;
  std::string path;
  ConfigErrors& errors;
  std::string expected = {};            ///< set by the outermost type, e.g. "none or a number"
  std::vector<std::string> words = {};  ///< words accepted here, for "did you mean"

  [[nodiscard]] Cursor item(std::size_t index) const;  ///< of a sequence or mapping
  /// Reports "found …, expected …"; `otherwise` stands in if no outer type said what is expected.
  void refuse(const std::string& otherwise) const;
  /// As refuse, with `found` instead of a description of the node.
  void refuse(const std::string& found, const std::string& otherwise) const;
  [[nodiscard]] bool is(YamlNode::Kind kind) const { return node.kind == kind; }
  /// A scalar without quotes: the only form of numbers, booleans and words like `auto`.
  [[nodiscard]] bool is_plain() const { return is(YamlNode::Kind::scalar) && !node.quoted; }
};

/// How one type of value is read, written and described. A value that cannot be read is reported
/// and std::nullopt.
template <class T>
struct ValueType {
  std::string expected;  ///< "an integer >= 1"
  std::function<std::optional<T>(const Cursor&)> read;
  std::function<YamlNode(const T&)> write;
  /// Keys of a section, with the values of its argument as defaults; empty function for scalars.
  std::function<std::vector<KeyHelp>(const T&)> keys = {};
  std::vector<std::string> words = {};
  /// If set, reads on top of a value that holds the defaults, as nested sections do.
  std::function<std::optional<T>(const Cursor&, const T&)> change = {};
};

/// Keys of `node` that are not in `known` are mistakes.
void refuse_unknown_keys(const Cursor& mapping, const std::vector<std::string>& known);

/// One key of a section S. Built by `key`.
template <class S>
struct Key {
  std::string name;
  std::string type;
  std::string help;
  std::string default_text;  ///< if not empty, shown instead of the default value
  bool required = false;
  std::function<void(const Cursor&, S&)> read;
  std::function<YamlNode(const S&)> write;
  std::function<std::vector<KeyHelp>(const S&)> keys;

  [[nodiscard]] Key must_be_given() && {
    required = true;
    return std::move(*this);
  }
  [[nodiscard]] Key with_default_text(std::string text) && {
    default_text = std::move(text);
    return std::move(*this);
  }
};

/// Describes the member `member` of S under the name `name`.
template <class S, class T>
[[nodiscard]] Key<S> key(std::string name, T S::* member, ValueType<T> type, std::string help) {
  Key<S> result{std::move(name), type.expected, std::move(help), {}, false, {}, {}, {}};
  result.read = [member, type](const Cursor& at, S& into) {
    std::optional<T> value = type.change ? type.change(at, into.*member) : type.read(at);
    if (value) into.*member = std::move(*value);
  };
  result.write = [member, write = type.write](const S& from) { return write(from.*member); };
  if (type.keys) {
    result.keys = [member, keys = type.keys](const S& from) { return keys(from.*member); };
  }
  return result;
}

/// The one description of a section's keys. Parser, writer, help and error messages come from it.
template <class S>
class Section {
 public:
  explicit Section(std::vector<Key<S>> keys)
      : keys_(std::make_shared<const std::vector<Key<S>>>(std::move(keys))) {}

  /// Reads the keys that are there into `into` and leaves the others as they are. Reports unknown
  /// and missing keys. Nothing written counts as an empty mapping. Keys named in `elsewhere` are
  /// read by somebody else.
  void read(const Cursor& at, S& into, const std::vector<std::string>& elsewhere = {}) const {
    if (at.is(YamlNode::Kind::invalid)) return;
    if (!at.is(YamlNode::Kind::mapping) && !at.is(YamlNode::Kind::null)) {
      at.refuse("a mapping");
      return;
    }
    std::vector<std::string> known = elsewhere;
    for (std::string& name : names()) known.push_back(std::move(name));
    refuse_unknown_keys(at, known);
    read_keys(at, into);
  }

  /// As read, for a node that is a mapping or nothing, without looking at keys it does not know.
  void read_keys(const Cursor& at, S& into) const {
    for (const Key<S>& entry : *keys_) read_key(entry, at, into);
  }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const Key<S>& entry : *keys_) result.push_back(entry.name);
    return result;
  }

  /// A mapping of all keys; those whose value writes Kind::invalid (absent) are left out.
  [[nodiscard]] YamlNode write(const S& from) const {
    YamlNode node = YamlNode::mapping();
    for (const Key<S>& entry : *keys_) {
      YamlNode value = entry.write(from);
      if (value.kind != YamlNode::Kind::invalid) node.set(entry.name, std::move(value));
    }
    return node;
  }

  [[nodiscard]] std::vector<KeyHelp> describe(const S& defaults) const {
    std::vector<KeyHelp> result;
    for (const Key<S>& entry : *keys_) {
      if (entry.keys) {
        for (KeyHelp& nested : entry.keys(defaults)) {
          nested.path = entry.name + "." + nested.path;
          result.push_back(std::move(nested));
        }
        continue;
      }
      result.push_back({entry.name, entry.type, shown_default(entry, defaults), entry.help});
    }
    return result;
  }

 private:
  static void read_key(const Key<S>& entry, const Cursor& at, S& into) {
    for (std::size_t i = 0; i < at.node.keys.size(); ++i) {
      if (at.node.keys[i].text == entry.name) {
        entry.read(at.item(i), into);
        return;
      }
    }
    if (entry.required) {
      at.errors.add(at.node.place, path_of_key(at.path, entry.name),
                    "found nothing, expected " + entry.type);
    }
  }

  static std::string shown_default(const Key<S>& entry, const S& defaults) {
    if (entry.required) return "required";
    if (!entry.default_text.empty()) return entry.default_text;
    const YamlNode value = entry.write(defaults);
    if (value.kind == YamlNode::Kind::invalid) return "absent";
    std::string text = to_yaml(value);
    text.pop_back();
    return text;
  }

  std::shared_ptr<const std::vector<Key<S>>> keys_;  ///< shared: tables are copied into types
};

}  // namespace alpa
