#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace alpa {

/// Where a value stands in a file, or in a command line argument that takes a file's place.
/// Line and column count from 1; columns count characters, not bytes.
struct TextPlace {
  std::shared_ptr<const std::string> file;
  int line = 1;
  int column = 1;
};

/// Key of a mapping.
struct YamlKey {
  std::string text;
  TextPlace place;
};

/// A YAML value as written, before it has a type. Values are owned; a tree is copied deeply.
struct YamlNode {
  enum class Kind {
    null,  ///< nothing written, `~` or `null`
    scalar,
    sequence,
    mapping,
    invalid,  ///< a mistake already reported: readers pass over it in silence
  };

  Kind kind = Kind::null;
  bool quoted = false;          ///< scalar: written in quotes or as a block, so never a number
  std::string text;             ///< scalar: its characters
  std::vector<YamlKey> keys;    ///< mapping: keys[i] belongs to items[i], all different
  std::vector<YamlNode> items;  ///< sequence, mapping
  TextPlace place;

  /// Value of a key of a mapping, or null; the first of `keys` that matches.
  [[nodiscard]] const YamlNode* find(std::string_view key) const;
  [[nodiscard]] YamlNode* find(std::string_view key);

  [[nodiscard]] static YamlNode plain(std::string text);
  /// Plain if every YAML reader takes it for the same text, in double quotes otherwise.
  [[nodiscard]] static YamlNode of_text(std::string text);
  [[nodiscard]] static YamlNode sequence();
  [[nodiscard]] static YamlNode mapping();
  /// Appends to a mapping.  @pre the key is not there yet
  void set(std::string key, YamlNode value);

  /// Same content; where it stands and how it is quoted do not matter.
  [[nodiscard]] bool same_content(const YamlNode& other) const;
};

/// Mistakes found in files and arguments; collected so that a user sees all of them at once.
class ConfigErrors {
 public:
  static constexpr std::size_t kMost = 1000;

  /// `path` is the dotted path of the value (`layers[3].heads`), empty for the document as a whole.
  void add(const TextPlace& place, const std::string& path, const std::string& message);

  /// Adds all of `others` behind.
  void add(const ConfigErrors& others);

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::size_t size() const { return count_; }
  /// Further mistakes are only counted.
  [[nodiscard]] bool full() const { return count_ >= kMost; }
  /// Was a mistake reported at this path, below it, or in something that holds it?
  /// Checks over several values skip those whose parts are already known to be wrong.
  [[nodiscard]] bool touches(std::string_view path) const;
  /// `file:line:column: path: message`, one per mistake: by file in order of first mention, then by
  /// place. Mistakes beyond kMost are only counted, in a last line.
  [[nodiscard]] std::vector<std::string> lines() const;
  /// @throws UserError (ExitCode::configuration) with all lines if there are any
  void throw_if_any() const;

 private:
  struct Entry {
    TextPlace place;
    std::string path;
    std::string message;
  };
  std::vector<Entry> entries_;
  std::size_t count_ = 0;
};

/// What a YAML text may be at most. Checked before a tree is built.
struct YamlLimits {
  std::size_t bytes = std::size_t{1} << 19;
  int depth = 64;  ///< mappings and sequences inside each other
};

/// Reads one YAML document strictly. Beyond YAML's own syntax it refuses: bytes that are not UTF-8,
/// control characters, duplicate keys, keys that are not text, merge keys, anchors, aliases, tags,
/// a second document, and what exceeds `limits`. Mistakes go to `errors`; what they spoil is
/// Kind::invalid in the result, all of it when nothing more can be read.
/// `file` is named in messages and need not exist. An empty document is Kind::null.
[[nodiscard]] YamlNode parse_yaml(std::string_view text, const std::string& file,
                                  ConfigErrors& errors, const YamlLimits& limits = {});

/// Content of a file, of which no more than `limit` + 1 bytes are read.
/// @throws UserError (ExitCode::input_missing) with the path and the reason if it cannot be read
[[nodiscard]] std::string read_text_file(const std::string& path, std::size_t limit);

/// YAML text of a tree, ending in a newline: mappings as blocks, sequences of scalars in one line.
/// parse_yaml of it gives the same content.
[[nodiscard]] std::string to_yaml(const YamlNode& node);

/// In double quotes, with everything escaped that is not printable ASCII or UTF-8.
[[nodiscard]] std::string quoted_yaml(std::string_view text);

/// Shortest form that reads back equal, with a dot and a signed exponent: 0.1, 3.0, 1.0e-05.
/// @pre value is finite
[[nodiscard]] std::string float_text(double value);

/// `parent.key`, or `parent["key"]` when the key is not a plain word.
[[nodiscard]] std::string path_of_key(const std::string& parent, std::string_view key);
/// `parent[index]`
[[nodiscard]] std::string path_of_item(const std::string& parent, std::size_t index);

/// The candidate nearest to `word` by edit distance (insert, delete, replace, swap of neighbours),
/// empty if none is near enough to have been meant.
[[nodiscard]] std::string nearest_word(std::string_view word,
                                       const std::vector<std::string>& candidates);

}  // namespace alpa
