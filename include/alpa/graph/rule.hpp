#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "alpa/base/shape.hpp"
#include "alpa/graph/kernel.hpp"

namespace alpa {

/// One index of an operator's iteration space.
struct Factor {
  char name = ' ';
  std::int64_t size = 1;
  bool whole = false;  ///< may not be split
  /// May be split into parts that divide `size` only: dimensions of other extents, multiples of
  /// `size`, are cut with it (see View).
  bool even = false;
  bool counted = true;  ///< stands for work: its size is a factor of the FLOPs
  friend bool operator==(const Factor&, const Factor&) = default;
};

/// A dimension of operands that is cut together with a factor, and of which a piece needs a margin:
/// with both cut into p equal parts, part i of the factor needs part i of the dimension, `before`
/// elements that precede it and `after` that follow it (none beyond the ends).
///
/// Example: the rows y of a 3 x 3 convolution with padding 1 for its output rows h: {h, y, 1, 1}.
struct FactorWindow {
  char factor = ' ';
  char dimension = ' ';
  std::int64_t before = 0, after = 0;
  friend bool operator==(const FactorWindow&, const FactorWindow&) = default;
};

/// How an operator may be cut into pieces that each device runs on its own, in factor notation.
///
/// A mesh axis may split a factor: operands and results that have the factor's letter are split
/// along it, the other operands are whole, and a result that lacks it is left *partial* (its
/// `reduction` says sum or max; without one the factor cannot be split). Or a mesh axis may carry a
/// partial sum through: all operands of one *linear* group are partial over the axis, the others
/// whole, and every result is partial. Or the axis does nothing: every device computes the same.
///
/// Example: x [b,e] * w [e,f] -> [b,f], linear groups {0} and {1}, over an axis of 2 devices
///
///     b          x [b/2,e]   w [e,f]     y [b/2,f]
///     f          x [b,e]     w [e,f/2]   y [b,f/2]
///     e          x [b,e/2]   w [e/2,f]   y [b,f] partial (sum)
///     linear 0   x partial   w [e,f]     y [b,f] partial (sum)
struct ShardingRule {
  std::vector<Factor> factors;
  std::vector<Dims> operands;  ///< a factor's name per dimension of each operand
  std::vector<Dims> results;
  enum class Reduction : std::uint8_t { none, sum, max };
  std::vector<Reduction> reduction;      ///< per result: what a split of a missing factor leaves
  std::vector<std::vector<int>> linear;  ///< groups of operands; jointly linear within a group
  double flops_per_point = 0.0;          ///< FLOPs / product of the sizes of all counted factors
  std::vector<FactorWindow> windows = {};

  [[nodiscard]] int factor(char name) const;  ///< index into factors, or -1
  /// The window through which a dimension is cut, or null.
  [[nodiscard]] const FactorWindow* window_of(char dimension) const;
  friend bool operator==(const ShardingRule&, const ShardingRule&) = default;
};

/// The rule of a kernel on operands and results of these shapes, derived from the kernel's letters.
/// @throws UserError if shapes do not fit the letters, naming both.
[[nodiscard]] ShardingRule rule_of(const Kernel& kernel, const std::vector<Shape>& operands,
                                   const std::vector<Shape>& results);

}  // namespace alpa
