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

}  // namespace

void ConfigErrors::add(const TextPlace& place, const std::string& path,
                       const std::string& message) {
  entries_.push_back({place, path, message});
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
  const bool word = !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
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
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, (word.size() + 2) / 3) + 1;
  for (const std::string& candidate : candidates) {
    // rows[i][j]: edits from the first i characters of `word` to the first j of `candidate`
    std::vector<std::vector<std::size_t>> rows(word.size() + 1,
                                               std::vector<std::size_t>(candidate.size() + 1));
    for (std::size_t i = 0; i <= word.size(); ++i) {
      for (std::size_t j = 0; j <= candidate.size(); ++j) {
        if (i == 0 || j == 0) {
          rows[i][j] = i + j;
          continue;
        }
        const std::size_t replaced = word[i - 1] == candidate[j - 1] ? 0 : 1;
        rows[i][j] =
            std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + replaced});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1]) {
          rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
        }
      }
    }
    const std::size_t distance = rows[word.size()][candidate.size()];
    if (distance < best_distance && distance < std::max(word.size(), candidate.size())) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace alpa
