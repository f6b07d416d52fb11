#pragma once

#include <vector>

#include "alpa/base/memo.hpp"
#include "alpa/base/shape.hpp"
#include "alpa/graph/kernel.hpp"
#include "alpa/graph/rule.hpp"

#include "operators/operators.hpp"

namespace alpa {

/// What follows from a kernel and the shapes of its tensors, found once for operators that are
/// alike.
class RuleBook {
 public:
  using Shapes = std::vector<const Shape*>;

  struct Entry {
    Kernel kernel;
    std::vector<Shape> operands;
    bool given;  ///< shapes of the results; else they follow from the operands
    operators::Signature signature;
    std::vector<Shape> results;
    ShardingRule rule;
  };

  /// @param results null: they follow from the operands
  /// @return valid until the next question
  /// @throws UserError if shapes do not fit the kernel's letters
  const Entry& of(const Kernel& kernel, const Shapes& operands, const Shapes* results);

 private:
  Memo<Entry> entries_;
};

}  // namespace alpa
