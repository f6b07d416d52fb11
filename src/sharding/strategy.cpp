#include "alpa/sharding/strategy.hpp"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "alpa/base/error.hpp"

namespace alpa {
namespace {

std::vector<MeshAxis> axes_of_factor(const Strategy& strategy, char factor) {
  std::vector<MeshAxis> axes;
  for (const AxisUse& use : strategy.uses) {
    if (use.factor == factor) axes.push_back(use.axis);
  }
  return axes;
}

std::int64_t parts_of(const std::vector<MeshAxis>& axes, const DeviceMesh& mesh) {
  std::int64_t parts = 1;
  for (const MeshAxis axis : axes) parts *= extent(mesh, axis);
  return parts;
}

/// Dimensions are cut with their factor, or with the factor whose window moves over them.
ShardingSpec split_dims(const Dims& dims, const ShardingRule& rule, const Strategy& strategy,
                        const DeviceMesh& mesh) {
  ShardingSpec spec;
  spec.dim_axes.reserve(dims.size());
  for (std::size_t d = 0; d < dims.size(); ++d) {
    const FactorWindow* window = rule.window_of(dims[d]);
    spec.dim_axes.push_back(axes_of_factor(strategy, window ? window->factor : dims[d]));
    const bool split = parts_of(spec.dim_axes.back(), mesh) > 1;
    if (window == nullptr || !split || window->before + window->after == 0) continue;
    spec.margins.push_back({static_cast<int>(d), window->before, window->after});
  }
  return spec;
}

bool has(const Dims& dims, char letter) { return dims.find(letter) != Dims::npos; }

/// Why the rule cannot use the axis so, or nothing.
std::string objection(const ShardingRule& rule, const AxisUse& use) {
  if (use.linear >= 0) {
    if (static_cast<std::size_t>(use.linear) < rule.linear.size()) return "";
    return "the operator has no linear group " + std::to_string(use.linear);
  }
  const int f = rule.factor(use.factor);
  if (f < 0) return std::string("the operator has no factor '") + use.factor + "'";
  if (rule.factors[static_cast<std::size_t>(f)].whole) {
    return std::string("factor '") + use.factor + "' cannot be split";
  }
  for (std::size_t r = 0; r < rule.results.size(); ++r) {
    if (!has(rule.results[r], use.factor) && rule.reduction[r] == ShardingRule::Reduction::none) {
      return std::string("factor '") + use.factor + "' cannot be split: result " +
             std::to_string(r) + " needs all of it";
    }
  }
  return "";
}

std::string size_objection(const ShardingRule& rule, const Strategy& strategy,
                           const DeviceMesh& mesh) {
  for (const Factor& factor : rule.factors) {
    const std::int64_t parts = parts_of(axes_of_factor(strategy, factor.name), mesh);
    if (parts > factor.size) {
      return std::string("factor '") + factor.name + "' of size " + std::to_string(factor.size) +
             " cannot be split " + std::to_string(parts) + " ways";
    }
    const auto cut_with_window = [&](const FactorWindow& window) {
      const int dimension = rule.factor(window.dimension);
      return window.factor == factor.name &&
             rule.factors[static_cast<std::size_t>(dimension)].size % parts != 0;
    };
    const bool windowed = std::any_of(rule.windows.begin(), rule.windows.end(),
                                      [&](const auto& w) { return w.factor == factor.name; });
    if (((factor.even || windowed) && factor.size % parts != 0) ||
        std::any_of(rule.windows.begin(), rule.windows.end(), cut_with_window)) {
      return std::string("factor '") + factor.name + "' of size " + std::to_string(factor.size) +
             " cannot be split into " + std::to_string(parts) + " equal parts";
    }
  }
  return "";
}

/// Adds the partial axes of one result. False if sums and maxima would mix.
bool add_partial(ShardingSpec& spec, MeshAxis axis, ReduceOp op) {
  if (!spec.partial_axes.empty() && spec.partial_op != op) return false;
  spec.partial_op = op;
  spec.partial_axes.push_back(axis);
  std::sort(spec.partial_axes.begin(), spec.partial_axes.end());
  return true;
}

}  // namespace

std::string to_string(const Strategy& strategy) {
  if (strategy.uses.empty()) return "replicated";
  std::string text;
  for (const AxisUse& use : strategy.uses) {
    if (!text.empty()) text += ' ';
    text += use.linear >= 0 ? "linear" + std::to_string(use.linear) : std::string(1, use.factor);
    text += '@' + std::to_string(use.axis);
  }
  return text;
}

Strategy parse_strategy(const std::string& text) {
  Strategy strategy;
  if (text == "replicated") return strategy;
  std::istringstream words(text);
  std::string word;
  const auto number = [](const std::string& digits) {
    const bool ok =
        !digits.empty() && digits.size() < 4 &&
        std::all_of(
            digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    return ok ? std::stoi(digits) : -1;
  };
  while (words >> word) {
    const auto at = word.find('@');
    AxisUse use;
    bool good = at != std::string::npos;
    if (good) {
      const std::string left = word.substr(0, at);
      use.axis = number(word.substr(at + 1));
      if (left.size() == 1) {
        use.factor = left[0];
      } else if (left.starts_with("linear")) {
        use.linear = number(left.substr(6));
        good = use.linear >= 0;
      } else {
        good = false;
      }
    }
    if (!good || use.axis < 0) {
      throw PlanError("strategy '" + text + "': '" + word +
                      "' is not of the form factor@axis, linearN@axis");
    }
    strategy.uses.push_back(use);
  }
  if (strategy.uses.empty())
    throw PlanError("strategy '" + text + "': expected `replicated` or uses such as b@0");
  return strategy;
}

StrategyResult apply_strategy(const ShardingRule& rule, const Strategy& strategy,
                              const DeviceMesh& mesh) {
  std::vector<bool> used(mesh.extents.size(), false);
  for (const AxisUse& use : strategy.uses) {
    const auto a = static_cast<std::size_t>(use.axis);
    if (use.axis < 0 || a >= used.size()) {
      return {std::nullopt, "the mesh has no axis " + std::to_string(use.axis)};
    }
    if (used[a]) return {std::nullopt, "axis " + std::to_string(use.axis) + " is used twice"};
    used[a] = true;
    if (auto reason = objection(rule, use); !reason.empty()) return {std::nullopt, reason};
  }
  if (auto reason = size_objection(rule, strategy, mesh); !reason.empty()) {
    return {std::nullopt, reason};
  }
  OperatorLayout layout;
  layout.operands.reserve(rule.operands.size());
  layout.results.reserve(rule.results.size());
  for (const Dims& dims : rule.operands)
    layout.operands.push_back(split_dims(dims, rule, strategy, mesh));
  for (const Dims& dims : rule.results)
    layout.results.push_back(split_dims(dims, rule, strategy, mesh));
  for (const AxisUse& use : strategy.uses) {
    if (use.linear >= 0) {
      for (const int o : rule.linear[static_cast<std::size_t>(use.linear)]) {
        add_partial(layout.operands[static_cast<std::size_t>(o)], use.axis, ReduceOp::sum);
      }
    }
    for (std::size_t r = 0; r < rule.results.size(); ++r) {
      if (use.linear < 0 && has(rule.results[r], use.factor)) continue;
      const bool maximum = use.linear < 0 && rule.reduction[r] == ShardingRule::Reduction::max;
      if (!add_partial(layout.results[r], use.axis, maximum ? ReduceOp::max : ReduceOp::sum)) {
        return {std::nullopt,
                "result " + std::to_string(r) + " would be a partial sum and maximum"};
      }
    }
  }
  return {std::move(layout), ""};
}

std::vector<Strategy> all_strategies(const ShardingRule& rule, const DeviceMesh& mesh) {
  std::vector<Strategy> found{Strategy{}};
  for (std::size_t a = 0; a < mesh.extents.size(); ++a) {
    const auto axis = static_cast<MeshAxis>(a);
    std::vector<AxisUse> uses;
    for (const Factor& factor : rule.factors) uses.push_back({axis, factor.name, -1});
    for (std::size_t g = 0; g < rule.linear.size(); ++g) {
      uses.push_back({axis, '\0', static_cast<int>(g)});
    }
    std::vector<Strategy> longer = found;
    for (const Strategy& base : found) {
      for (const AxisUse& use : uses) {
        Strategy& last = longer.emplace_back(base);
        last.uses.push_back(use);
        const bool shares =
            use.linear < 0 && std::any_of(
                                  base.uses.begin(), base.uses.end(),
                                  [&](const AxisUse& u) { return u.factor == use.factor; });
        if (!shares) continue;
        Strategy& first = longer.emplace_back(base);  // the same with this axis as the major part
        first.uses.insert(first.uses.begin(), use);
      }
    }
    found = std::move(longer);
  }
  std::erase_if(found, [&](const Strategy& s) { return !apply_strategy(rule, s, mesh).layout; });
  return found;
}

}  // namespace alpa
