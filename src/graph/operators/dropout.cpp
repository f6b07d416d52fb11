#include "operators/operators.hpp"

namespace alpa::operators {

Signature signature(const Dropout& kernel, Instance /*instance*/) {
  return {.kind = "dropout",
          .attributes = "probability=" + number(kernel.dropout.probability) +
                        " key=" + std::to_string(kernel.dropout.key),
          .operands = {kernel.operand, "", ""},
          .results = {kernel.operand},
          .linear = {{0}}};
}

// The same numbers are drawn again, so the same elements are dropped.
void derive(const Dropout& kernel, Backward& backward) {
  backward.give(0, backward.add("input", kernel,
                                {backward.gradient(0), backward.operand(1), backward.operand(2)}));
}

}  // namespace alpa::operators
