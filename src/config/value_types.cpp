#include "alpa/config/value_types.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace alpa {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::size_t count_digits(std::string_view text) {
  return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) -
                                  text.begin());
}

/// Characters of [+-]?(0|[1-9][0-9]*) at the start, 0 if there are none. A leading zero ends it, so
/// that 010 is not a number.
std::size_t integer_length(std::string_view text) {
  const std::size_t sign = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  const std::size_t digits = count_digits(text.substr(sign));
  if (digits == 0 || (digits > 1 && text[sign] == '0')) return 0;
  return sign + digits;
}

/// Characters of the longest decimal number at the start: integer, fraction, exponent.
std::size_t number_length(std::string_view text) {
  std::size_t length = integer_length(text);
  if (length == 0) return 0;
  if (length < text.size() && text[length] == '.') {
    length += 1 + count_digits(text.substr(length + 1));
  }
  if (length < text.size() && (text[length] == 'e' || text[length] == 'E')) {
    const std::string_view rest = text.substr(length + 1);
    const std::size_t sign = !rest.empty() && (rest[0] == '+' || rest[0] == '-') ? 1 : 0;
    const std::size_t digits = count_digits(rest.substr(sign));
    if (digits > 0) length += 1 + sign + digits;
  }
  return length;
}

template <class T>
std::optional<T> converted(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 4> kSizeUnits = {
    {{"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}}};
constexpr std::array<Unit, 4> kTimeUnits = {
    {{"s", 1.0}, {"min", 60.0}, {"h", 3600.0}, {"d", 86400.0}}};

/// "1.5GiB": the number times the unit; nullopt if it is no number followed by a unit.
std::optional<double> with_unit(std::string_view text, const std::array<Unit, 4>& units) {
  const std::size_t length = number_length(text);
  const auto unit = std::find_if(units.begin(), units.end(),
                                 [&](const Unit& u) { return u.name == text.substr(length); });
  if (length == 0 || unit == units.end()) return std::nullopt;
  const auto value = converted<double>(text.substr(0, length));
  return value ? std::optional<double>(*value * unit->factor) : std::nullopt;
}

std::string text_of(std::int64_t min, std::int64_t max) {
  if (max == kNoLimit) return "an integer >= " + std::to_string(min);
  return "an integer from " + std::to_string(min) + " to " + std::to_string(max);
}

std::string short_number(double value) {
  std::string text = float_text(value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string text_of(const NumberRange& range) {
  std::string text = "a number";
  if (std::isfinite(range.min)) {
    text += (range.open_min ? " > " : " >= ") + short_number(range.min);
  }
  if (std::isfinite(range.max)) {
    text += std::isfinite(range.min) ? " and" : "";
    text += (range.open_max ? " < " : " <= ") + short_number(range.max);
  }
  return text;
}

bool contains(const NumberRange& range, double value) {
  const bool above = range.open_min ? value > range.min : value >= range.min;
  const bool below = range.open_max ? value < range.max : value <= range.max;
  return above && below && std::isfinite(value);
}

std::optional<double> read_number(const Cursor& at) {
  if (!at.is_plain() || number_length(at.node.text) != at.node.text.size()) return std::nullopt;
  return converted<double>(at.node.text);
}

std::optional<Bytes> read_size(const Cursor& at) {
  if (!at.is_plain()) return std::nullopt;
  const std::string_view text = at.node.text;
  if (integer_length(text) == text.size()) {
    const auto bytes = converted<std::int64_t>(text);
    return bytes && *bytes >= 0 ? std::optional<Bytes>(Bytes{*bytes}) : std::nullopt;
  }
  const auto bytes = with_unit(text, kSizeUnits);
  if (!bytes || *bytes < 0 || *bytes > 9.0e18 || *bytes != std::floor(*bytes)) return std::nullopt;
  return Bytes{static_cast<std::int64_t>(*bytes)};
}

std::optional<Seconds> read_duration(const Cursor& at) {
  if (!at.is_plain()) return std::nullopt;
  auto value = read_number(at);
  if (!value) value = with_unit(at.node.text, kTimeUnits);
  if (!value || *value < 0 || !std::isfinite(*value)) return std::nullopt;
  return Seconds{*value};
}

/// The boolean that YAML 1.1 would take the word for, as a hint.
std::vector<std::string> boolean_hint(std::string_view text) {
  const auto is_one_of = [text](std::initializer_list<std::string_view> words) {
    return std::any_of(words.begin(), words.end(), [text](std::string_view word) {
      return std::equal(word.begin(), word.end(), text.begin(), text.end(),
                        [](char a, char b) { return a == (b | 0x20); });
    });
  };
  if (is_one_of({"yes", "y", "on", "true"}) || text == "1") return {"true"};
  if (is_one_of({"no", "n", "off", "false"}) || text == "0") return {"false"};
  return {};
}

/// A scalar type from functions that neither report nor know what is expected.
template <class T>
ValueType<T> scalar_type(std::string expected, std::function<std::optional<T>(const Cursor&)> read,
                         std::function<YamlNode(const T&)> write) {
  ValueType<T> type;
  type.expected = expected;
  type.read = [expected = std::move(expected), read = std::move(read)](const Cursor& at) {
    std::optional<T> value = read(at);
    if (!value) at.refuse(expected);
    return value;
  };
  type.write = std::move(write);
  return type;
}

}  // namespace

namespace detail {

std::string joined_words(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
    text += words[i];
  }
  return text;
}

std::optional<std::size_t> read_word(const Cursor& at, const std::vector<std::string>& words) {
  if (at.is(YamlNode::Kind::scalar)) {
    const auto found = std::find(words.begin(), words.end(), at.node.text);
    if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  }
  with_words(at, joined_words(words), words).refuse("");
  return std::nullopt;
}

bool is_word(const Cursor& at, std::string_view word) {
  return at.is_plain() && at.node.text == word;
}

Cursor with_words(const Cursor& at, const std::string& expected,
                  const std::vector<std::string>& words) {
  Cursor result = at;
  if (result.expected.empty()) result.expected = expected;
  result.words.insert(result.words.end(), words.begin(), words.end());
  return result;
}

}  // namespace detail

ValueType<std::int64_t> integer(std::int64_t min, std::int64_t max) {
  return scalar_type<std::int64_t>(
      text_of(min, max),
      [min, max](const Cursor& at) -> std::optional<std::int64_t> {
        if (!at.is_plain() || integer_length(at.node.text) != at.node.text.size()) return {};
        const auto value = converted<std::int64_t>(at.node.text);
        return value && *value >= min && *value <= max ? value : std::nullopt;
      },
      [](const std::int64_t& value) { return YamlNode::plain(std::to_string(value)); });
}

ValueType<double> number(NumberRange range) {
  return scalar_type<double>(
      text_of(range),
      [range](const Cursor& at) -> std::optional<double> {
        const auto value = read_number(at);
        return value && contains(range, *value) ? value : std::nullopt;
      },
      [](const double& value) { return YamlNode::plain(float_text(value)); });
}

ValueType<double> rate() {
  const NumberRange range{.min = 0, .open_min = true};
  ValueType<double> type = scalar_type<double>(
      "unlimited or " + text_of(range),
      [range](const Cursor& at) -> std::optional<double> {
        if (detail::is_word(at, "unlimited")) return std::numeric_limits<double>::infinity();
        const auto value = read_number(at);
        return value && contains(range, *value) ? value : std::nullopt;
      },
      [](const double& value) {
        return YamlNode::plain(std::isfinite(value) ? float_text(value) : "unlimited");
      });
  return type;
}

ValueType<bool> boolean() {
  ValueType<bool> type;
  type.expected = "true or false";
  type.read = [](const Cursor& at) -> std::optional<bool> {
    if (detail::is_word(at, "true")) return true;
    if (detail::is_word(at, "false")) return false;
    Cursor reported = at;
    std::string message = "true or false";
    if (const auto hint = boolean_hint(at.node.text); !hint.empty()) {
      message += " (did you mean " + hint[0] + "?)";
    } else {
      reported.words = {"true", "false"};
    }
    reported.refuse(message);
    return std::nullopt;
  };
  type.write = [](const bool& value) { return YamlNode::plain(value ? "true" : "false"); };
  return type;
}

ValueType<std::string> one_of(const std::vector<std::string>& words) {
  ValueType<std::string> type = text();
  type.expected = detail::joined_words(words);
  type.words = words;
  type.read = [words](const Cursor& at) -> std::optional<std::string> {
    const auto index = detail::read_word(at, words);
    return index ? std::optional<std::string>(words[*index]) : std::nullopt;
  };
  return type;
}

ValueType<std::string> text() {
  return scalar_type<std::string>(
      "text",
      [](const Cursor& at) -> std::optional<std::string> {
        if (!at.is(YamlNode::Kind::scalar) || at.node.text.empty()) return {};
        return at.node.text;
      },
      [](const std::string& value) { return YamlNode::of_text(value); });
}

ValueType<Bytes> size() {
  return scalar_type<Bytes>(
      "a size (bytes, or with KiB, MiB, GiB, TiB)", read_size,
      [](const Bytes& value) { return YamlNode::plain(std::to_string(value.value)); });
}

ValueType<Seconds> duration() {
  return scalar_type<Seconds>(
      "a time >= 0 (seconds, or with s, min, h, d)", read_duration,
      [](const Seconds& value) { return YamlNode::plain(float_text(value.value)); });
}

ValueType<std::vector<std::pair<std::string, std::string>>> text_map(const std::string& expected) {
  using Map = std::vector<std::pair<std::string, std::string>>;
  ValueType<Map> type;
  type.expected = expected;
  type.read = [expected](const Cursor& at) -> std::optional<Map> {
    if (!at.is(YamlNode::Kind::mapping)) {
      at.refuse(expected);
      return std::nullopt;
    }
    const ValueType<std::string> value_type = text();
    Map map;
    for (std::size_t i = 0; i < at.node.items.size(); ++i) {
      auto value = value_type.read(at.item(i));
      if (value) map.emplace_back(at.node.keys[i].text, std::move(*value));
    }
    return map.size() == at.node.items.size() ? std::make_optional(std::move(map)) : std::nullopt;
  };
  type.write = [](const Map& map) {
    YamlNode node = YamlNode::mapping();
    for (const auto& [name, value] : map) node.set(name, YamlNode::of_text(value));
    return node;
  };
  return type;
}

}  // namespace alpa
