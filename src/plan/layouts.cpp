#include "alpa/plan/layouts.hpp"

#include <algorithm>
#include <set>

#include "alpa/base/error.hpp"
#include "alpa/config/yaml.hpp"
#include "alpa/graph/glob.hpp"

namespace alpa {
namespace {

/// Meshes have one axis or two. Extents of 1 cut nothing, so that sizes do not matter.
const DeviceMesh kAnyMesh{{1, 1}};

/// The name that the glob may have meant, else some that hold its last word.
std::string nearest_names(const std::string& glob, const Graph& graph) {
  std::set<std::string> patterns;
  for (const Operator& op : graph.operators) {
    if (!op.copy_of.valid()) patterns.insert(without_numbers(op.name));
  }
  const std::string near = nearest_word(glob, {patterns.begin(), patterns.end()});
  if (!near.empty()) return "did you mean " + near + "?";
  const std::string last = glob.substr(glob.find_last_of('.') + 1);
  std::string found;
  int count = 0;
  for (const std::string& pattern : patterns) {
    if (last.find_first_not_of("*?") == std::string::npos) break;
    if (!glob_matches_whole("*" + last + "*", pattern)) continue;
    if (++count > 3) break;
    found += (found.empty() ? "" : ", ") + pattern;
  }
  return found.empty()
             ? "its operators are called like " + without_numbers(graph.operators.front().name)
             : "it has " + found;
}

/// "b (8), h (4)": the letters that the operator can split.
std::string letters_of(const ShardingRule& rule) {
  std::string text;
  for (const Factor& factor : rule.factors) {
    const Strategy alone{{{0, factor.name, -1}}};
    if (!apply_strategy(rule, alone, kAnyMesh).layout) continue;
    text += (text.empty() ? "" : ", ") + std::string(1, factor.name) + " (" +
            std::to_string(factor.size) + ")";
  }
  for (std::size_t g = 0; g < rule.linear.size(); ++g) {
    text += (text.empty() ? "" : ", ") + std::string("linear") + std::to_string(g);
  }
  return text.empty() ? "it can only be replicated" : "it can split " + text;
}

Strategy strategy_of_glob(const std::string& glob, const std::string& text) {
  try {
    return parse_strategy(text);
  } catch (const PlanError& error) {
    throw PlanError("parallel.layouts: '" + glob + "': " + error.what());
  }
}

}  // namespace

NamedStrategies layouts_of(const ParallelConfig& parallel, const Graph& graph) {
  NamedStrategies layouts;
  for (const auto& [glob, text] : parallel.layouts) {
    layouts.emplace_back(glob, strategy_of_glob(glob, text));
    const bool matched =
        std::any_of(graph.operators.begin(), graph.operators.end(), [&](const Operator& op) {
          return !op.copy_of.valid() && glob_matches_whole(glob, op.name);
        });
    if (matched) continue;
    throw PlanError("parallel.layouts: '" + glob + "' matches no operator of the model (" +
                    nearest_names(glob, graph) + ")");
  }
  for (const Operator& op : graph.operators) {
    const Strategy* given = strategy_of(layouts, op.name);
    if (given == nullptr) continue;
    const StrategyResult result = apply_strategy(op.rule, *given, kAnyMesh);
    if (result.layout) continue;
    throw PlanError("parallel.layouts: " + op.name + ": strategy '" + to_string(*given) +
                    "': " + result.reason + "; " + letters_of(op.rule));
  }
  return layouts;
}

const Strategy* strategy_of(const NamedStrategies& layouts, const std::string& name) {
  const auto given = std::find_if(layouts.rbegin(), layouts.rend(), [&](const auto& layout) {
    return glob_matches_whole(layout.first, name);
  });
  return given == layouts.rend() ? nullptr : &given->second;
}

}  // namespace alpa
