#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "alpa/config/model_config.hpp"
#include "alpa/graph/kernel.hpp"

/// The planner and the run time know no model and no operator: reads the sources.
namespace alpa {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Source files of a module by path below the root; none if the module is not there yet.
std::map<std::string, std::string> sources(const std::string& module) {
  std::map<std::string, std::string> found;
  const fs::path root = ALPA_SOURCE_DIR;
  for (const fs::path& folder : {root / "src" / module, root / "include" / "alpa" / module}) {
    if (!fs::exists(folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      found[fs::relative(entry.path(), root).string()] = read(entry.path());
    }
  }
  return found;
}

std::string without_comments(const std::string& text) {
  return std::regex_replace(text, std::regex("//[^\n]*"), "");
}

/// Line of the first match, or 0.
long line_of(const std::string& text, const std::string& pattern, bool any_case = false) {
  const auto flags = any_case ? std::regex::ECMAScript | std::regex::icase : std::regex::ECMAScript;
  std::smatch match;
  if (!std::regex_search(text, match, std::regex(pattern, flags))) return 0;
  return 1 + std::count(text.begin(), text.begin() + match.position(), '\n');
}

/// The kernels' struct names, from their closed set.
std::vector<std::string> kernels() {
  const std::string text = read(fs::path(ALPA_SOURCE_DIR) / "include/alpa/graph/kernel.hpp");
  const auto begin = text.find("std::variant<") + std::string("std::variant<").size();
  std::string list = text.substr(begin, text.find(">;", begin) - begin);
  std::replace(list.begin(), list.end(), ',', ' ');
  std::istringstream words(list);
  return {std::istream_iterator<std::string>(words), {}};
}

// Kernels that are the step's own machinery, in every model: moves of pieces (CopyBox, Fill), sums
// over microbatches and ranks (Accumulate, Contribute), changes of state (Update).
const std::set<std::string> kMachinery = {"CopyBox", "Fill", "Contribute", "Accumulate", "Update"};

/// Other kernels that a file may name, with the reason.
const std::map<std::pair<std::string, std::string>, std::string> kExceptions = {
    {{"src/lowering/segment_builder.cpp", "Map"},
     "a copy to the layout and dtype there already is needs no kernel, and the sum of a tied "
     "parameter's gradient sums drops those that share a buffer"},
};

TEST(Names, NoOperatorIsKnownToPlannerAndRunTime) {
  const auto all = kernels();
  ASSERT_EQ(all.size(), std::variant_size_v<Kernel>);
  std::set<std::pair<std::string, std::string>> used;
  int files = 0;
  for (const std::string module :
       {"sharding", "solver", "schedule", "memory", "intra_op", "inter_op", "plan", "program",
        "lowering", "simulate", "runtime"}) {
    for (const auto& [path, text] : sources(module)) {
      ++files;
      const std::string code = without_comments(text);
      for (const std::string& kernel : all) {
        if (kMachinery.contains(kernel)) continue;
        const long line = line_of(code, "\\b" + kernel + "\\b");
        if (line == 0) continue;
        used.insert({path, kernel});
        EXPECT_TRUE(kExceptions.contains({path, kernel}))
            << path << ":" << line << " names the operator " << kernel;
      }
    }
  }
  EXPECT_GT(files, 30);
  for (const auto& [exception, reason] : kExceptions) {
    EXPECT_TRUE(used.contains(exception))
        << exception.first << " no longer names " << exception.second << ": drop the exception";
  }
}

TEST(Names, NoModelIsKnownBelowModel) {
  std::vector<std::string> models = {"transformer", "resnet", "bert", "llama"};
  for (const auto& entry : names_of(Preset{})) {
    if (entry.name != "custom") models.emplace_back(entry.name);
  }
  int files = 0;
  for (const std::string module :
       {"graph", "cluster", "sharding", "solver", "schedule", "memory", "intra_op", "inter_op",
        "plan", "program", "lowering", "simulate", "device", "comm", "probe", "checkpoint",
        "runtime"}) {
    for (const auto& [path, text] : sources(module)) {
      ++files;
      for (const std::string& model : models) {
        const long line = line_of(text, "\\b" + model + "(_|\\b)", true);
        EXPECT_EQ(line, 0) << path << ":" << line << " names the model " << model;
      }
    }
  }
  EXPECT_GT(files, 60);
}

// The search itself finds what it looks for.
TEST(Names, AreFoundWhereTheyAre) {
  bool found = false;
  for (const auto& [path, text] : sources("model")) {
    found = found || (line_of(without_comments(text), "\\bEinsum\\b") > 0 &&
                      line_of(text, "\\btransformer\\b", true) > 0);
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(line_of(without_comments("a\n// Einsum\nb"), "\\bEinsum\\b"), 0);
  EXPECT_EQ(line_of("a\nEinsum", "\\bEinsum\\b"), 2);
}

}  // namespace
}  // namespace alpa
