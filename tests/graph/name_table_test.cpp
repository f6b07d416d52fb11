#include "alpa/graph/name_table.hpp"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace alpa {
namespace {

/// As a map has it, with names that come, go and are given to others.
TEST(NameTable, FindsWhatHasANameNow) {
  std::mt19937_64 random(1);
  std::vector<std::string> names;
  std::map<std::string, std::int32_t> expected;
  NameTable table;
  const auto name_of = [&](std::int32_t i) -> const std::string& {
    return names[static_cast<std::size_t>(i)];
  };
  for (int round = 0; round < 3000; ++round) {
    const std::string name = "name" + std::to_string(random() % 2000);
    const bool renames = !names.empty() && random() % 3 == 0;
    const auto place = static_cast<std::int32_t>(renames ? random() % names.size() : names.size());
    const bool is_new = !expected.contains(name);
    EXPECT_EQ(table.add(name, place, name_of), is_new) << name;
    if (!is_new) continue;
    if (renames) {
      expected.erase(name_of(place));
      names[static_cast<std::size_t>(place)] = name;
    } else {
      names.push_back(name);
    }
    expected[name] = place;
  }
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "name" + std::to_string(i);
    const auto it = expected.find(name);
    EXPECT_EQ(table.find(name, name_of),
              it == expected.end() ? std::nullopt : std::optional(it->second))
        << name;
  }
}

}  // namespace
}  // namespace alpa
