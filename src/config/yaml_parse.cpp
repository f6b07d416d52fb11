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

/// Ends parsing: what is nested deeper than the limit is not read at all.
struct TooDeep {
  TextPlace place;
};

/// Ends parsing: the rest of the file is taken for text.
struct OpenQuote {
  TextPlace place;
};

/// Ends parsing where a second document starts; already reported, the first is whole.
struct SecondDocument {};

/// Turns byte positions of yaml-cpp (from 0) into places (from 1, in characters).
class PlaceFinder {
 public:
  PlaceFinder(std::string_view text, std::shared_ptr<const std::string> file)
      : file_(std::move(file)), index_(text) {}

  [[nodiscard]] TextPlace at(const YAML::Mark& mark) const {
    const std::size_t line = line_of(mark);
    return {file_, static_cast<int>(line) + 1, index_.column(line, offset_of(mark))};
  }

  /// The text from a mark on, or from the start of its line.
  [[nodiscard]] std::string_view text_at(const YAML::Mark& mark) const {
    return index_.from(line_of(mark), offset_of(mark));
  }
  [[nodiscard]] std::string_view line_at(const YAML::Mark& mark) const {
    return index_.from(line_of(mark), 0);
  }

 private:
  [[nodiscard]] std::size_t line_of(const YAML::Mark& mark) const {
    return std::min(static_cast<std::size_t>(std::max(mark.line, 0)), index_.lines() - 1);
  }
  [[nodiscard]] static std::size_t offset_of(const YAML::Mark& mark) {
    return static_cast<std::size_t>(std::max(mark.column, 0));
  }

  std::shared_ptr<const std::string> file_;
  TextIndex index_;
};

/// Builds a tree from yaml-cpp's events. The depth limit holds before yaml-cpp recurses further.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const PlaceFinder& places, ConfigErrors& errors, int depth_limit)
      : places_(places), errors_(errors), depth_limit_(depth_limit) {}

  [[nodiscard]] YamlNode take_root() { return std::move(root_); }

  /// Where the innermost mapping or list that is still open starts.
  [[nodiscard]] std::optional<TextPlace> open_place() const {
    return frames_.empty() ? std::nullopt : std::make_optional(frames_.back().node.place);
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ == 0) return;
    errors_.add(places_.at(mark), "", "found a second document, expected one document in a file");
    throw SecondDocument{};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    YamlNode nothing = node(YamlNode::Kind::null, mark);
    // what is not written has no place of its own
    if (!frames_.empty() && frames_.back().pending) {
      nothing.place = frames_.back().pending->key.place;
    }
    put(std::move(nothing));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(places_.at(mark),
           "found an alias, expected the value itself (text that starts with * needs quotes)");
    put(node(YamlNode::Kind::invalid, mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    YamlNode scalar = node(YamlNode::Kind::scalar, mark);
    scalar.text = value;
    scalar.quoted = tag == "!";
    // yaml-cpp lets a quote run to the end of the file
    if (scalar.quoted && !closes_quote(places_.text_at(mark))) throw OpenQuote{scalar.place};
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

  /// Paths can be long: one is put together only for a mistake that will be shown.
  void refuse(const TextPlace& place, const std::string& message) {
    errors_.add(place, errors_.full() ? std::string() : path(), message);
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor == 0) return;
    refuse(places_.at(mark),
           "found an anchor, expected a value without one (text that starts with & needs quotes)");
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    refuse(places_.at(mark), "found the tag " + shown(tag) + ", expected a value without one");
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (static_cast<int>(frames_.size()) >= depth_limit_) throw TooDeep{places_.at(mark)};
    Frame frame;
    frame.is_key = expects_key();
    if (frame.is_key) {
      refuse(places_.at(mark), "found a mapping or list as a key, expected a word");
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
    PendingKey pending{{key.text, key.place}, false};
    const auto refuse_key = [&](const std::string& message) {
      errors_.add(key.place, errors_.full() ? std::string() : path_of_key(path(), key.text),
                  message);
    };
    if (key.kind == YamlNode::Kind::invalid) {
      pending.key.text = "?";
    } else if (key.kind == YamlNode::Kind::null) {
      refuse_key("found an empty key, expected a word");
    } else if (key.text == "<<" && !key.quoted) {
      refuse_key("found a merge key, expected the keys themselves");
    } else if (const auto [first, fresh] = frame.first_lines.emplace(key.text, key.place.line);
               !fresh) {
      refuse_key("found a duplicate key (first in line " + std::to_string(first->second) +
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

/// Says what yaml-cpp says, in clearer words for the mistakes that people make.
void report_syntax(const YAML::ParserException& error, const PlaceFinder& places,
                   const TreeBuilder& builder, const ConfigErrors& found, ConfigErrors& errors) {
  const auto open = builder.open_place();
  // yaml-cpp's place of the end of the file is the end or the start
  const bool at_end = error.mark.line <= 0 && error.mark.column <= 0;
  if (open && error.msg.ends_with("flow not found") &&
      (at_end || places.text_at(error.mark).empty())) {
    // what it made of the rest is not worth reporting
    errors.add(*open, "", "found a bracket that is never closed, expected YAML: " + error.msg);
    return;
  }
  errors.add(found);
  if (is_indented_by_tab(places.line_at(error.mark))) {
    TextPlace place = places.at(error.mark);
    place.column = 1;
    errors.add(place, "", "found a tab in the indentation, expected spaces");
  } else if (error.msg == YAML::ErrorMsg::UNKNOWN_ANCHOR) {
    errors.add(places.at(error.mark), "",
               "found an alias, expected the value itself (text that starts with * needs quotes)");
  } else {
    errors.add(places.at(error.mark), "", "found a syntax error, expected YAML: " + error.msg);
  }
}

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
               "found " + bad->found + ", expected printable text in UTF-8");
    return invalid_at(start);
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);

  const PlaceFinder places(text, name);
  ConfigErrors found;
  TreeBuilder builder(places, found, limits.depth);
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const SecondDocument&) {
  } catch (const TooDeep& deep) {
    errors.add(deep.place, "",
               "found more than " + std::to_string(limits.depth) +
                   " mappings and lists inside each other, expected at most that");
    return invalid_at(start);
  } catch (const OpenQuote& open) {
    errors.add(found);
    errors.add(open.place, "", "found a quote that is never closed, expected YAML");
    return invalid_at(start);
  } catch (const YAML::ParserException& error) {
    report_syntax(error, places, builder, found, errors);
    return invalid_at(start);
  }
  errors.add(found);
  YamlNode root = builder.take_root();
  if (!root.place.file) root.place = start;
  return root;
}

}  // namespace alpa
