#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

std::string attributes(const NormAttributes& norm) {
  return std::string("letter=") + norm.letter + " epsilon=" + number(norm.epsilon) +
         (norm.rms ? " rms" : "");
}

Dims row_of(const NormAttributes& norm) { return without(norm.operand, norm.letter); }

/// The moments must be those of the normalised tensor: the derivative goes through them.
void check_moments(const Backward& backward) {
  const auto producer = backward.builder().producer(backward.operand(1));
  if (producer.has_value()) {
    const Operator& op = backward.builder().graph().op(*producer);
    if (std::holds_alternative<NormMoments>(op.kernel) &&
        op.operands.at(0) == backward.operand(0) && op.results.at(1) == backward.operand(2)) {
      return;
    }
  }
  throw UserError("operator " + backward.op().name + ": operands 1 and 2 are not the moments of " +
                  backward.tensor(backward.operand(0)).name);
}

}  // namespace

Signature signature(const NormMoments& kernel, Instance /*instance*/) {
  const Dims row = without(kernel.operand, kernel.letter);
  return {.kind = "norm_moments",
          .attributes = std::string("letter=") + kernel.letter,
          .operands = {kernel.operand},
          .results = {row, row},
          .reduction = {Reduction::sum, Reduction::sum},
          .suffixes = {".sum", ".square_sum"},
          .wide_results = {0, 1}};
}

Signature signature(const NormApply& kernel, Instance /*instance*/) {
  const Dims& x = kernel.norm.operand;
  const Dims row = row_of(kernel.norm);
  const Dims scale(1, kernel.norm.letter);
  Signature s{.kind = "norm_apply",
              .attributes = attributes(kernel.norm),
              .operands = {x, row, row, scale},
              .results = {x}};
  if (kernel.bias) s.operands.push_back(scale);
  return s;
}

void derive(const NormApply& kernel, Backward& backward) {
  check_moments(backward);
  const TensorId dy = backward.gradient(0);
  const TensorId x = backward.operand(0);
  const TensorId sum = backward.operand(1), square_sum = backward.operand(2);
  const TensorId scale = backward.operand(3);
  if (backward.wanted(0)) {
    const auto moments = backward.add_all("moments", NormGradientMoments{kernel.norm},
                                          {dy, x, sum, square_sum, scale});
    backward.give(0, backward.add("input", NormGradientInput{kernel.norm},
                                  {dy, x, sum, square_sum, scale, moments.at(0), moments.at(1)}));
  }
  const bool bias = kernel.bias && backward.wanted(4);
  if (!bias && !backward.wanted(3)) return;
  const auto parameters = backward.add_all("parameters", NormGradientParameters{kernel.norm, bias},
                                           {dy, x, sum, square_sum});
  backward.give(3, parameters.at(0));
  if (bias) backward.give(4, parameters.at(1));
}

Signature signature(const NormGradientMoments& kernel, Instance /*instance*/) {
  const Dims& x = kernel.norm.operand;
  const Dims row = row_of(kernel.norm);
  return {.kind = "norm_gradient_moments",
          .attributes = attributes(kernel.norm),
          .operands = {x, x, row, row, Dims(1, kernel.norm.letter)},
          .results = {row, row},
          .reduction = {Reduction::sum, Reduction::sum},
          .linear = {{0}},
          .suffixes = {".g_sum", ".gx_sum"},
          .wide_results = {0, 1}};
}

Signature signature(const NormGradientInput& kernel, Instance /*instance*/) {
  const Dims& x = kernel.norm.operand;
  const Dims row = row_of(kernel.norm);
  return {.kind = "norm_gradient_input",
          .attributes = attributes(kernel.norm),
          .operands = {x, x, row, row, Dims(1, kernel.norm.letter), row, row},
          .results = {x},
          .linear = {{0, 5, 6}}};
}

Signature signature(const NormGradientParameters& kernel, Instance /*instance*/) {
  const Dims& x = kernel.norm.operand;
  const Dims row = row_of(kernel.norm);
  const Dims scale(1, kernel.norm.letter);
  Signature s{.kind = "norm_gradient_parameters",
              .attributes = attributes(kernel.norm),
              .operands = {x, x, row, row},
              .results = {scale},
              .reduction = {Reduction::sum},
              .linear = {{0}}};
  if (kernel.bias) {
    s.results.push_back(scale);
    s.reduction.push_back(Reduction::sum);
    s.suffixes = {".scale", ".bias"};
  }
  return s;
}

}  // namespace alpa::operators
