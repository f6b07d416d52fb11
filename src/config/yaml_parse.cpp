#include <algorithm>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"

#include "text_check.hpp"

namespace alpa {
namespace {

/// Ends parsing after a mistake that leaves nothing to go on with; it is already reported.
struct StopParsing {};

/// Turns byte positions of yaml-cpp (from 0) into places (from 1, in characters).
class PlaceFinder {
 public:
  PlaceFinder(std::string_view text, std::shared_ptr<const std::string> file)
      : text_(text), file_(std::move(file)), line_starts_(line_starts(text)) {}

  [[nodiscard]] TextPlace at(const YAML::Mark& mark) const {
    if (mark.is_null()) return {file_, 1, 1};
    const auto line =
        std::min(static_cast<std::size_t>(std::max(mark.line, 0)), line_starts_.size() - 1);
    const std::size_t start = line_starts_[line];
    const std::size_t end =
        std::min(text_.size(), start + static_cast<std::size_t>(std::max(mark.column, 0)));
    return {file_, static_cast<int>(line) + 1,
            1 + static_cast<int>(count_characters(text_.substr(start, end - start)))};
  }

 private:
  std::string_view text_;
  std::shared_ptr<const std::string> file_;
  std::vector<std::size_t> line_starts_;
};

/// Builds a tree from yaml-cpp's events. The depth limit holds before yaml-cpp recurses further.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const PlaceFinder& places, ConfigErrors& errors, int depth_limit)
      : places_(places), errors_(errors), depth_limit_(depth_limit) {}

  [[nodiscard]] YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ == 0) return;
    errors_.add(places_.at(mark), "", "found a second document, expected one document in a file");
    throw StopParsing{};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    put(node(YamlNode::Kind::null, mark));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    errors_.add(places_.at(mark), path(), "found an alias, expected the value itself");
    put(node(YamlNode::Kind::invalid, mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    YamlNode scalar = node(YamlNode::Kind::scalar, mark);
    scalar.text = value;
    scalar.quoted = tag == "!";
    put(std::move(scalar));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::sequence, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::mapping, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct PendingKey {
    YamlKey key;
    bool keep = true;  ///< false: the key is a mistake, its value is read and dropped
  };
  struct Frame {
    YamlNode node;
    std::optional<PendingKey> pending;
    std::unordered_map<std::string, int> first_lines;  ///< mapping: line of each key
    bool is_key = false;                               ///< a collection where a key should stand
  };

  [[nodiscard]] YamlNode node(YamlNode::Kind kind, const YAML::Mark& mark) const {
    YamlNode result;
    result.kind = kind;
    result.place = places_.at(mark);
    return result;
  }

  [[nodiscard]] bool expects_key() const {
    return !frames_.empty() && frames_.back().node.kind == YamlNode::Kind::mapping &&
           !frames_.back().pending;
  }

  /// Path of the value that comes next.
  [[nodiscard]] std::string path() const {
    std::string result;
    for (const Frame& frame : frames_) {
      if (frame.node.kind == YamlNode::Kind::sequence) {
        result = path_of_item(result, frame.node.items.size());
      } else if (frame.pending) {
        result = path_of_key(result, frame.pending->key.text);
      }
    }
    return result;
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor == 0) return;
    errors_.add(places_.at(mark), path(), "found an anchor, expected a value without one");
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    errors_.add(places_.at(mark), path(),
                "found the tag " + shown(tag) + ", expected a value without one");
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (static_cast<int>(frames_.size()) >= depth_limit_) {
      errors_.add(places_.at(mark), "",
                  "found more than " + std::to_string(depth_limit_) +
                      " mappings and lists inside each other, expected at most " +
                      std::to_string(depth_limit_));
      throw StopParsing{};
    }
    Frame frame;
    frame.is_key = expects_key();
    if (frame.is_key) {
      errors_.add(places_.at(mark), path(), "found a mapping or list as a key, expected a word");
    }
    frame.node = node(kind, mark);
    frames_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (frame.is_key) {
      frames_.back().pending = PendingKey{{"?", frame.node.place}, false};
    } else {
      put(std::move(frame.node));
    }
  }

  void put(YamlNode value) {
    if (frames_.empty()) {
      root_ = std::move(value);
    } else if (expects_key()) {
      begin_entry(frames_.back(), value);
    } else if (Frame& frame = frames_.back(); frame.node.kind == YamlNode::Kind::sequence) {
      frame.node.items.push_back(std::move(value));
    } else {
      if (frame.pending->keep) {
        frame.node.keys.push_back(std::move(frame.pending->key));
        frame.node.items.push_back(std::move(value));
      }
      frame.pending.reset();
    }
  }

  void begin_entry(Frame& frame, const YamlNode& key) {
    const std::string parent = path();
    PendingKey pending{{key.text, key.place}, false};
    const std::string full = path_of_key(parent, key.text);
    if (key.kind == YamlNode::Kind::invalid) {
      pending.key.text = "?";
    } else if (key.kind == YamlNode::Kind::null) {
      errors_.add(key.place, parent, "found an empty key, expected a word");
    } else if (key.text == "<<" && !key.quoted) {
      errors_.add(key.place, full, "found a merge key, expected the keys themselves");
    } else if (const auto [first, fresh] = frame.first_lines.emplace(key.text, key.place.line);
               !fresh) {
      errors_.add(key.place, full,
                  "found a duplicate key (first in line " + std::to_string(first->second) +
                      "), expected each key once");
    } else {
      pending.keep = true;
    }
    frame.pending = std::move(pending);
  }

  const PlaceFinder& places_;
  ConfigErrors& errors_;
  int depth_limit_;
  int documents_ = 0;
  std::vector<Frame> frames_;
  YamlNode root_;
};

YamlNode invalid_at(const TextPlace& place) {
  YamlNode node;
  node.kind = YamlNode::Kind::invalid;
  node.place = place;
  return node;
}

}  // namespace

YamlNode parse_yaml(std::string_view text, const std::string& file, ConfigErrors& errors,
                    const YamlLimits& limits) {
  const auto name = std::make_shared<const std::string>(file);
  const TextPlace start{name, 1, 1};
  if (text.size() > limits.bytes) {
    errors.add(start, "",
               "found more than " + std::to_string(limits.bytes) + " bytes, expected at most that");
    return invalid_at(start);
  }
  if (const auto bad = find_bad_character(text)) {
    errors.add({name, bad->line, bad->column}, "",
               "found " + bad->found + ", expected text in UTF-8");
    return invalid_at(start);
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);

  const PlaceFinder places(text, name);
  TreeBuilder builder(places, errors, limits.depth);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const StopParsing&) {
    return invalid_at(start);
  } catch (const YAML::ParserException& error) {
    errors.add(places.at(error.mark), "", "found a syntax error, expected YAML: " + error.msg);
    return invalid_at(start);
  }
  YamlNode root = builder.take_root();
  if (!root.place.file) root.place = start;
  return root;
}

}  // namespace alpa
