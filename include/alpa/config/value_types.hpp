#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "alpa/base/units.hpp"
#include "alpa/config/schema.hpp"

namespace alpa {

inline constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

/// Values a number may have. Open ends do not belong to it.
struct NumberRange {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool open_min = false;
  bool open_max = false;
};

/// Decimal integer in [min, max]. No leading zero, no exponent, no quotes.
[[nodiscard]] ValueType<std::int64_t> integer(std::int64_t min, std::int64_t max = kNoLimit);
/// Finite number; integers count. No leading zero, no quotes.
[[nodiscard]] ValueType<double> number(NumberRange range);
/// As `number`, or `unlimited`, which is infinity.
[[nodiscard]] ValueType<double> rate();
/// `true` or `false`, nothing else.
[[nodiscard]] ValueType<bool> boolean();
/// One of these words, kept as text. Without words nothing can be written.
[[nodiscard]] ValueType<std::string> one_of(const std::vector<std::string>& words);
/// Any scalar that is not empty.
[[nodiscard]] ValueType<std::string> text();
/// Bytes as an integer, or with KiB, MiB, GiB, TiB: 16GiB, 1.5GiB (whole bytes).
[[nodiscard]] ValueType<Bytes> size();
/// Seconds >= 0 as a number, or with s, min, h, d: 90min.
[[nodiscard]] ValueType<Seconds> duration();
/// Mapping of text to text, in the order written.
[[nodiscard]] ValueType<std::vector<std::pair<std::string, std::string>>> text_map(
    const std::string& expected);

/// One value of an enumeration and how it is written.
template <class E>
struct EnumName {
  std::string_view name;
  E value;
};

/// For every enumeration E of this module there is `std::span<const EnumName<E>> names_of(E)`.
template <class E>
[[nodiscard]] std::string_view name_of(E value) {
  for (const EnumName<E>& entry : names_of(value)) {
    if (entry.value == value) return entry.name;
  }
  return "?";
}

namespace detail {
[[nodiscard]] std::string joined_words(const std::vector<std::string>& words);
/// Index of the word written at `at` in `words`, or nullopt after reporting it.
[[nodiscard]] std::optional<std::size_t> read_word(const Cursor& at,
                                                   const std::vector<std::string>& words);
/// A plain scalar equal to `word`?
[[nodiscard]] bool is_word(const Cursor& at, std::string_view word);
/// `at` for a value inside "`words` or `expected`".
[[nodiscard]] Cursor with_words(const Cursor& at, const std::string& expected,
                                const std::vector<std::string>& words);
}  // namespace detail

/// One word of an enumeration; `some` restricts it to those values.
template <class E>
[[nodiscard]] ValueType<E> choice(std::vector<E> some = {}) {
  if (some.empty()) {
    for (const EnumName<E>& entry : names_of(E{})) some.push_back(entry.value);
  }
  std::vector<std::string> words;
  for (const E value : some) words.emplace_back(name_of(value));
  ValueType<E> type;
  type.expected = detail::joined_words(words);
  type.words = words;
  type.read = [words, some](const Cursor& at) -> std::optional<E> {
    const auto index = detail::read_word(at, words);
    return index ? std::optional<E>(some[*index]) : std::nullopt;
  };
  type.write = [](const E& value) { return YamlNode::of_text(std::string(name_of(value))); };
  return type;
}

/// `word`, or a value of `type`.
template <class T>
[[nodiscard]] ValueType<std::optional<T>> word_or(const std::string& word, ValueType<T> type) {
  ValueType<std::optional<T>> result;
  result.words = type.words;
  result.words.insert(result.words.begin(), word);
  const bool only_words = type.expected == detail::joined_words(type.words);
  result.expected = only_words ? detail::joined_words(result.words) : word + " or " + type.expected;
  result.read = [word, type, expected = result.expected,
                 words = result.words](const Cursor& at) -> std::optional<std::optional<T>> {
    if (detail::is_word(at, word)) return std::make_optional(std::optional<T>());
    std::optional<T> value = type.read(detail::with_words(at, expected, words));
    return value ? std::make_optional(std::move(value)) : std::nullopt;
  };
  result.write = [word, type](const std::optional<T>& value) {
    return value ? type.write(*value) : YamlNode::plain(word);
  };
  return result;
}

/// `automatic` or `never` (both words chosen by the key), or a value of `type`.
template <class A, class B, class T>
[[nodiscard]] ValueType<std::variant<A, B, T>> two_words_or(const std::string& first,
                                                            const std::string& second,
                                                            ValueType<T> type) {
  using Variant = std::variant<A, B, T>;
  ValueType<Variant> result;
  result.expected = first + ", " + second + " or " + type.expected;
  result.words = {first, second};
  result.read = [first, second, type, expected = result.expected,
                 words = result.words](const Cursor& at) -> std::optional<Variant> {
    if (detail::is_word(at, first)) return Variant(A{});
    if (detail::is_word(at, second)) return Variant(B{});
    std::optional<T> value = type.read(detail::with_words(at, expected, words));
    return value ? std::make_optional(Variant(std::move(*value))) : std::nullopt;
  };
  result.write = [first, second, type](const Variant& value) {
    if (std::holds_alternative<A>(value)) return YamlNode::plain(first);
    if (std::holds_alternative<B>(value)) return YamlNode::plain(second);
    return type.write(std::get<T>(value));
  };
  return result;
}

/// A list of `min` to `max` values.
template <class T>
[[nodiscard]] ValueType<std::vector<T>> list_of(ValueType<T> type, std::string expected,
                                                std::size_t min = 0, std::size_t max = SIZE_MAX) {
  ValueType<std::vector<T>> result;
  result.expected = std::move(expected);
  result.read = [type, expected = result.expected, min,
                 max](const Cursor& at) -> std::optional<std::vector<T>> {
    if (at.is(YamlNode::Kind::invalid)) return std::nullopt;
    if (!at.is(YamlNode::Kind::sequence)) {
      at.refuse(expected);
      return std::nullopt;
    }
    if (at.node.items.size() < min || at.node.items.size() > max) {
      at.refuse("a list of " + std::to_string(at.node.items.size()), expected);
      return std::nullopt;
    }
    std::vector<T> values;
    bool good = true;
    for (std::size_t i = 0; i < at.node.items.size(); ++i) {
      std::optional<T> value = type.read(at.item(i));
      good = good && value;
      if (value) values.push_back(std::move(*value));
    }
    return good ? std::make_optional(std::move(values)) : std::nullopt;
  };
  result.write = [type](const std::vector<T>& values) {
    YamlNode node = YamlNode::sequence();
    for (const T& value : values) node.items.push_back(type.write(value));
    return node;
  };
  return result;
}

/// A nested section; keys left out keep their defaults.
template <class S>
[[nodiscard]] ValueType<S> section(Section<S> table) {
  ValueType<S> type;
  type.expected = "a mapping";
  type.change = [table](const Cursor& at, const S& defaults) -> std::optional<S> {
    S value = defaults;
    table.read(at, value);
    return value;
  };
  type.read = [change = type.change](const Cursor& at) { return change(at, S{}); };
  type.write = [table](const S& value) { return table.write(value); };
  type.keys = [table](const S& value) { return table.describe(value); };
  return type;
}

/// A value of `type` that is kept as another type.
template <class U, class T, class To, class From>
[[nodiscard]] ValueType<U> mapped(ValueType<T> type, To to, From from) {
  ValueType<U> result;
  result.expected = type.expected;
  result.words = type.words;
  result.read = [type, to](const Cursor& at) -> std::optional<U> {
    std::optional<T> value = type.read(at);
    return value ? std::make_optional(U(to(std::move(*value)))) : std::nullopt;
  };
  result.write = [type, from](const U& value) { return type.write(T(from(value))); };
  if (type.keys) {
    result.keys = [type, from](const U& value) { return type.keys(T(from(value))); };
  }
  return result;
}

/// A value that may be absent: not written when it is not there.
template <class T>
[[nodiscard]] ValueType<std::optional<T>> if_given(ValueType<T> type) {
  ValueType<std::optional<T>> result;
  result.expected = type.expected;
  result.words = type.words;
  result.read = [type](const Cursor& at) -> std::optional<std::optional<T>> {
    std::optional<T> value = type.read(at);
    return value ? std::make_optional(std::move(value)) : std::nullopt;
  };
  result.write = [type](const std::optional<T>& value) {
    if (value) return type.write(*value);
    YamlNode absent;
    absent.kind = YamlNode::Kind::invalid;
    return absent;
  };
  if (type.change) {
    result.change = [type](const Cursor& at,
                           const std::optional<T>& now) -> std::optional<std::optional<T>> {
      std::optional<T> value = type.change(at, now ? *now : T{});
      return value ? std::make_optional(std::move(value)) : std::nullopt;
    };
  }
  if (type.keys) {
    result.keys = [keys = type.keys](const std::optional<T>& value) {
      return keys(value ? *value : T{});
    };
  }
  return result;
}

}  // namespace alpa
