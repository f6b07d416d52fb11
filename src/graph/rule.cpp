#include "alpa/graph/rule.hpp"

#include <algorithm>
#include <numeric>

#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa {
namespace {

using operators::Signature;

std::string joined(const std::vector<Dims>& all) {
  std::string text;
  for (const Dims& dims : all) text += (text.empty() ? "" : ", ") + ("\"" + dims + "\"");
  return "(" + text + ")";
}

std::string joined(const std::vector<Shape>& all) {
  std::string text;
  for (const Shape& shape : all) text += (text.empty() ? "" : ", ") + to_string(shape);
  return "(" + text + ")";
}

[[noreturn]] void misfit(const Signature& s, const std::vector<Shape>& operands,
                         const std::vector<Shape>& results, const std::string& why) {
  throw UserError(s.kind + " " + joined(s.operands) + " -> " + joined(s.results) +
                  " does not fit shapes " + joined(operands) + " -> " + joined(results) + ": " +
                  why);
}

/// Binds the letters of one tensor to its extents; returns what is wrong, or "". A letter of `even`
/// may have several extents: its factor's size is what divides them all.
std::string bind(const Dims& dims, const Shape& shape, const std::string& even,
                 ShardingRule& rule) {
  if (dims.size() != shape.size()) {
    return "\"" + dims + "\" has " + std::to_string(dims.size()) + " letters, the tensor " +
           std::to_string(shape.size()) + " dimensions";
  }
  for (std::size_t d = 0; d < dims.size(); ++d) {
    if (dims.find(dims[d], d + 1) != Dims::npos) {
      return "\"" + dims + "\" has letter '" + dims[d] + "' twice";
    }
    const int known = rule.factor(dims[d]);
    if (known < 0) {
      rule.factors.push_back({.name = dims[d], .size = shape[d]});
    } else if (operators::has(even, dims[d])) {
      auto& size = rule.factors[static_cast<std::size_t>(known)].size;
      size = std::gcd(size, shape[d]);
    } else if (const auto size = rule.factors[static_cast<std::size_t>(known)].size;
               size != shape[d]) {
      return std::string("letter '") + dims[d] + "' is both " + std::to_string(size) + " and " +
             std::to_string(shape[d]);
    }
  }
  return "";
}

std::string check_kernel_sizes(const Signature& s, const ShardingRule& rule) {
  const auto size_of_letter = [&](char letter) {
    return rule.factors.at(static_cast<std::size_t>(rule.factor(letter))).size;
  };
  if (s.extent && size_of_letter(s.extent->first) != s.extent->second) {
    return std::string("letter '") + s.extent->first + "' must be " +
           std::to_string(s.extent->second);
  }
  if (s.index && (s.index->second < 0 || s.index->second >= size_of_letter(s.index->first))) {
    return "index " + std::to_string(s.index->second) + " lies outside letter '" + s.index->first +
           "'";
  }
  return "";
}

}  // namespace

int ShardingRule::factor(char name) const {
  const auto found =
      std::find_if(factors.begin(), factors.end(), [&](const Factor& f) { return f.name == name; });
  return found == factors.end() ? -1 : static_cast<int>(found - factors.begin());
}

const FactorWindow* ShardingRule::window_of(char dimension) const {
  const auto found = std::find_if(windows.begin(), windows.end(),
                                  [&](const FactorWindow& w) { return w.dimension == dimension; });
  return found == windows.end() ? nullptr : &*found;
}

ShardingRule rule_of(const Kernel& kernel, const std::vector<Shape>& operands,
                     const std::vector<Shape>& results) {
  const Signature s = operators::signature_of(
      kernel, {operands.size(), results.empty() ? 0 : results.front().size()});
  if (operands.size() != s.operands.size() || results.size() != s.results.size()) {
    misfit(s, operands, results, "another number of operands or results");
  }
  ShardingRule rule{.factors = {},
                    .operands = s.operands,
                    .results = s.results,
                    .reduction = s.reduction,
                    .linear = s.linear,
                    .flops_per_point = s.flops_per_point,
                    .windows = {}};
  if (rule.reduction.empty()) {
    rule.reduction.assign(results.size(), ShardingRule::Reduction::none);
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::string why = bind(s.results[i], results[i], s.even, rule);
    if (!why.empty()) misfit(s, operands, results, why);
  }
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const std::string why = bind(s.operands[i], operands[i], s.even, rule);
    if (!why.empty()) misfit(s, operands, results, why);
  }
  std::string why = check_kernel_sizes(s, rule);
  if (why.empty() && s.check) why = s.check(operands, results);
  if (!why.empty()) misfit(s, operands, results, why);
  if (s.windows) rule.windows = s.windows(operands, results);
  for (Factor& factor : rule.factors) {
    const bool moves = std::any_of(rule.windows.begin(), rule.windows.end(),
                                   [&](const auto& w) { return w.factor == factor.name; });
    factor.whole = operators::has(s.whole, factor.name) && !moves;
    factor.even = operators::has(s.even, factor.name);
    factor.counted = !operators::has(s.uncounted, factor.name);
  }
  return rule;
}

}  // namespace alpa
