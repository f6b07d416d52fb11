#include "operators/operators.hpp"

namespace alpa::operators {

Signature signature(const Embedding& kernel, Instance /*instance*/) {
  return {.kind = "embedding",
          .operands = {kernel.table, kernel.ids},
          .results = {kernel.result},
          .reduction = {Reduction::sum},
          .linear = {{0}},
          .integer_operands = {1}};
}

void derive(const Embedding& kernel, Backward& backward) {
  const EmbeddingGradient gradient{kernel.result, kernel.ids, kernel.table};
  const Shape table = backward.tensor(backward.operand(0)).shape;
  backward.give(0, backward.add("table", gradient, {backward.gradient(0), backward.operand(1)},
                                {.shapes = {table}}));
}

Signature signature(const EmbeddingGradient& kernel, Instance /*instance*/) {
  return {.kind = "embedding_gradient",
          .operands = {kernel.gradient, kernel.ids},
          .results = {kernel.table},
          .reduction = {Reduction::sum},
          .linear = {{0}},
          .integer_operands = {1}};
}

}  // namespace alpa::operators
