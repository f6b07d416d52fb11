#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <numeric>
#include <sys/stat.h>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"

#include "text_check.hpp"

namespace alpa {
namespace {

/// Is `path` equal to `whole`, or a part of it?
bool is_within(std::string_view path, std::string_view whole) {
  if (!path.starts_with(whole)) return false;
  if (path.size() == whole.size() || whole.empty()) return true;
  return path[whole.size()] == '.' || path[whole.size()] == '[';
}

constexpr std::size_t kEdit = 2;  ///< cost of an edit; of a change of case half as much

std::size_t replace_cost(char a, char b) {
  if (a == b) return 0;
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return lower(a) == lower(b) ? kEdit / 2 : kEdit;
}

/// Cost of the cheapest edits that turn `from` into `to`.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  // rows[i][j]: from the first i characters of `from` to the first j of `to`
  std::vector<std::vector<std::size_t>> rows(from.size() + 1,
                                             std::vector<std::size_t>(to.size() + 1));
  for (std::size_t i = 0; i <= from.size(); ++i) {
    for (std::size_t j = 0; j <= to.size(); ++j) {
      if (i == 0 || j == 0) {
        rows[i][j] = kEdit * (i + j);
        continue;
      }
      rows[i][j] = std::min({rows[i - 1][j] + kEdit, rows[i][j - 1] + kEdit,
                             rows[i - 1][j - 1] + replace_cost(from[i - 1], to[j - 1])});
      if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + kEdit);
      }
    }
  }
  return rows[from.size()][to.size()];
}

}  // namespace

void ConfigErrors::add(const TextPlace& place, const std::string& path,
                       const std::string& message) {
  if (count_++ < kMost) entries_.push_back({place, path, message});
}

void ConfigErrors::add(const ConfigErrors& others) {
  for (const Entry& entry : others.entries_) add(entry.place, entry.path, entry.message);
  count_ += others.count_ - others.entries_.size();
}

bool ConfigErrors::touches(std::string_view path) const {
  return std::any_of(entries_.begin(), entries_.end(), [path](const Entry& entry) {
    return is_within(path, entry.path) || is_within(entry.path, path);
  });
}

std::vector<std::string> ConfigErrors::lines() const {
  std::vector<std::string> files;
  const auto file_of = [](const Entry& entry) {
    return entry.place.file ? *entry.place.file : std::string();
  };
  std::vector<std::size_t> rank(entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const std::string file = file_of(entries_[i]);
    const auto found = std::find(files.begin(), files.end(), file);
    rank[i] = static_cast<std::size_t>(found - files.begin());
    if (found == files.end()) files.push_back(file);
  }
  std::vector<std::size_t> order(entries_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const TextPlace& p = entries_[a].place;
    const TextPlace& q = entries_[b].place;
    return std::tie(rank[a], p.line, p.column) < std::tie(rank[b], q.line, q.column);
  });

  std::vector<std::string> result;
  for (const std::size_t i : order) {
    const Entry& entry = entries_[i];
    std::string line = files[rank[i]] + ":" + std::to_string(entry.place.line) + ":" +
                       std::to_string(entry.place.column) + ": ";
    if (!entry.path.empty()) line += entry.path + ": ";
    result.push_back(line + entry.message);
  }
  if (count_ > entries_.size()) {
    result.push_back("and " + std::to_string(count_ - entries_.size()) + " more mistakes");
  }
  return result;
}

void ConfigErrors::throw_if_any() const {
  if (empty()) return;
  std::string text;
  for (const std::string& line : lines()) {
    if (!text.empty()) text += '\n';
    text += line;
  }
  throw UserError(text);
}

std::string read_text_file(const std::string& path, std::size_t limit) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) {
    throw UserError(path + ": cannot be read: " + std::strerror(errno), ExitCode::input_missing);
  }
  if (!S_ISREG(info.st_mode)) {
    throw UserError(path + ": found something that is not a regular file, expected a YAML file",
                    ExitCode::input_missing);
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw UserError(path + ": cannot be read: " + std::strerror(errno), ExitCode::input_missing);
  }
  std::string text(std::min(limit + 1, static_cast<std::size_t>(info.st_size)), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

std::string path_of_key(const std::string& parent, std::string_view key) {
  constexpr std::size_t kLongest = 60;
  const bool word = !key.empty() && key.size() <= kLongest &&
                    std::all_of(key.begin(), key.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '_' || c == '-';
                    });
  if (!word) return parent + "[\"" + shown(key) + "\"]";
  return parent.empty() ? std::string(key) : parent + "." + std::string(key);
}

std::string path_of_item(const std::string& parent, std::size_t index) {
  return parent + "[" + std::to_string(index) + "]";
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongest = 64;
  if (word.empty() || word.size() > kLongest) return {};
  const std::size_t most = std::max<std::size_t>(1, (word.size() + 2) / 3) * kEdit;
  std::string best;
  std::size_t best_distance = most + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    // a word of which nothing is left was not meant
    if (distance < best_distance && distance < kEdit * std::max(word.size(), candidate.size())) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace alpa
