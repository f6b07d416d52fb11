#pragma once

#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace alpa {

/// The lines of one "case NAME" of a file in tests/inter_op/data, without that line.
struct CaseText {
  std::string name;
  std::vector<std::string> lines;
};

inline std::vector<CaseText> read_cases(const std::string& file) {
  const std::string path = std::string(ALPA_SOURCE_DIR) + "/tests/inter_op/data/" + file;
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  std::vector<CaseText> cases;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("#")) continue;
    if (line.starts_with("case ")) {
      cases.push_back({line.substr(5), {}});
    } else {
      cases.back().lines.push_back(line);
    }
  }
  return cases;
}

inline std::vector<std::string> words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> list;
  for (std::string word; in >> word;) list.push_back(word);
  return list;
}

/// A known optimum; nothing where the case is infeasible.
inline std::optional<double> optimum(const std::string& word) {
  if (word == "none") return std::nullopt;
  return std::stod(word);
}

}  // namespace alpa
