#include "groups.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/graph/glob.hpp"

namespace alpa::model {
namespace {

std::vector<std::string> parameter_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const TensorId id : tensors_with(graph, Role::parameter)) {
    if (graph.tensor(id).trained) names.push_back(graph.tensor(id).name);
  }
  return names;
}

/// What a glob could have said: each parameter and each path above one.
std::vector<std::string> patterns_of(const std::vector<std::string>& names) {
  std::set<std::string> patterns;
  for (const std::string& name : names) {
    const std::string pattern = without_numbers(name);
    for (std::size_t dot = pattern.find('.'); dot != std::string::npos;
         dot = pattern.find('.', dot + 1)) {
      patterns.insert(pattern.substr(0, dot));
    }
    patterns.insert(pattern);
  }
  return {patterns.begin(), patterns.end()};
}

[[noreturn]] void refuse(const std::string& path, const std::string& glob,
                         const std::vector<std::string>& names) {
  const std::string near = nearest_word(glob, patterns_of(names));
  const std::string hint = near.empty() ? "the model's parameters start with " + names.front()
                                        : "did you mean " + near + "?";
  throw UserError(path + ": " + glob + " matches no parameter of the model (" + hint + ")");
}

}  // namespace

void check_groups(const Graph& graph, const OptimizerConfig& optimizer) {
  const std::vector<std::string> names = parameter_names(graph);
  for (std::size_t g = 0; g < optimizer.groups.size(); ++g) {
    const auto& globs = optimizer.groups[g].parameters;
    for (std::size_t i = 0; i < globs.size(); ++i) {
      const bool matches = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        return glob_matches(globs[i], name);
      });
      const std::string path = path_of_item(path_of_item("optimizer.groups", g) + ".parameters", i);
      if (!matches) refuse(path, globs[i], names);
    }
  }
}

}  // namespace alpa::model
