#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

Dims without_all(Dims dims, const Dims& letters) {
  for (const char letter : letters) dims = without(dims, letter);
  return dims;
}

Dims row_of(const NormAttributes& norm) { return without_all(norm.operand, norm.over); }

std::string attributes(const Dims& over, std::int64_t group) {
  return "over=" + over + (group > 1 ? " group=" + std::to_string(group) : "");
}

std::string attributes(const NormAttributes& norm) {
  return attributes(norm.over, norm.group) + " epsilon=" + number(norm.epsilon) +
         (norm.rms ? " rms" : "");
}

std::string attributes(double n) { return "n=" + number(n); }

/// Notes that groups of the first letter share a row: it has another extent there. `x` and `row`
/// are places among operands and results together.
void mark_groups(Signature& s, const Dims& operand, const Dims& over, std::int64_t group,
                 std::size_t x, std::size_t row) {
  if (group <= 1) return;
  const char first = operand.front();
  if (has(over, first)) {
    throw UserError(s.kind + " " + operand + ": groups are of the first letter '" + first +
                    "', which is normalised over whole");
  }
  s.even = first;
  s.check = [=](const std::vector<Shape>& operands, const std::vector<Shape>& results) {
    const auto extent = [&](std::size_t i) {
      return (i < operands.size() ? operands[i] : results.at(i - operands.size())).at(0);
    };
    if (extent(x) == group * extent(row)) return std::string();
    return std::to_string(extent(x)) + " of '" + first + "' are not " +
           std::to_string(extent(row)) + " groups of " + std::to_string(group);
  };
}

/// The normalised tensor of which these are the moments, also where evaluation takes others.
std::optional<TensorId> tensor_of_moments(const GraphBuilder& builder, TensorId sum,
                                          TensorId square_sum) {
  const auto producer = builder.producer(sum);
  if (!producer || builder.producer(square_sum) != producer) return std::nullopt;
  const Operator& op = builder.graph().op(*producer);
  if (op.results.at(0) != sum || op.results.at(1) != square_sum) return std::nullopt;
  if (std::holds_alternative<NormBlend>(op.kernel)) {
    return tensor_of_moments(builder, op.operands.at(0), op.operands.at(1));
  }
  if (!std::holds_alternative<NormMoments>(op.kernel)) return std::nullopt;
  return op.operands.at(0);
}

/// The moments must be those of the normalised tensor: the derivative goes through them.
void check_moments(const Backward& backward) {
  if (tensor_of_moments(backward.builder(), backward.operand(1), backward.operand(2)) ==
      backward.operand(0)) {
    return;
  }
  throw UserError("operator " + backward.op().name + ": operands 1 and 2 are not the moments of " +
                  backward.tensor(backward.operand(0)).name);
}

}  // namespace

Signature signature(const NormMoments& kernel, Instance /*instance*/) {
  const Dims row = without_all(kernel.operand, kernel.over);
  Signature s{.kind = "norm_moments",
              .attributes = attributes(kernel.over, kernel.group),
              .operands = {kernel.operand},
              .results = {row, row},
              .reduction = {Reduction::sum, Reduction::sum},
              .suffixes = {".sum", ".square_sum"},
              .wide_results = {0, 1}};
  mark_groups(s, kernel.operand, kernel.over, kernel.group, 0, 1);
  return s;
}

Signature signature(const NormApply& kernel, Instance /*instance*/) {
  const NormAttributes& norm = kernel.norm;
  const Dims& x = norm.operand;
  const Dims row = row_of(norm);
  Signature s{.kind = "norm_apply",
              .attributes = attributes(norm),
              .operands = {x, row, row, norm.parameters},
              .results = {x}};
  if (kernel.bias) s.operands.push_back(norm.parameters);
  mark_groups(s, x, norm.over, norm.group, 0, 1);
  return s;
}

void derive(const NormApply& kernel, Backward& backward) {
  check_moments(backward);
  const TensorId dy = backward.gradient(0);
  const TensorId x = backward.operand(0);
  const TensorId sum = backward.operand(1), square_sum = backward.operand(2);
  const TensorId scale = backward.operand(3);
  if (backward.wanted(0)) {
    const Shape row = backward.tensor(sum).shape;
    const auto moments = backward.add_all("moments", NormGradientMoments{kernel.norm},
                                          {dy, x, sum, square_sum, scale}, {.shapes = {row, row}});
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
  const NormAttributes& norm = kernel.norm;
  const Dims& x = norm.operand;
  const Dims row = row_of(norm);
  Signature s{.kind = "norm_gradient_moments",
              .attributes = attributes(norm),
              .operands = {x, x, row, row, norm.parameters},
              .results = {row, row},
              .reduction = {Reduction::sum, Reduction::sum},
              .linear = {{0}},
              .suffixes = {".g_sum", ".gx_sum"},
              .wide_results = {0, 1}};
  mark_groups(s, x, norm.over, norm.group, 0, 2);
  return s;
}

Signature signature(const NormGradientInput& kernel, Instance /*instance*/) {
  const NormAttributes& norm = kernel.norm;
  const Dims& x = norm.operand;
  const Dims row = row_of(norm);
  Signature s{.kind = "norm_gradient_input",
              .attributes = attributes(norm),
              .operands = {x, x, row, row, norm.parameters, row, row},
              .results = {x},
              .linear = {{0, 5, 6}}};
  mark_groups(s, x, norm.over, norm.group, 0, 2);
  return s;
}

Signature signature(const NormGradientParameters& kernel, Instance /*instance*/) {
  const NormAttributes& norm = kernel.norm;
  const Dims& x = norm.operand;
  const Dims row = row_of(norm);
  Signature s{.kind = "norm_gradient_parameters",
              .attributes = attributes(norm),
              .operands = {x, x, row, row},
              .results = {norm.parameters},
              .reduction = {Reduction::sum},
              .linear = {{0}}};
  if (kernel.bias) {
    s.results.push_back(norm.parameters);
    s.reduction.push_back(Reduction::sum);
    s.suffixes = {".scale", ".bias"};
  }
  mark_groups(s, x, norm.over, norm.group, 0, 2);
  return s;
}

Signature signature(const NormStatistics& kernel, Instance /*instance*/) {
  return {.kind = "norm_statistics",
          .attributes = attributes(kernel.n) + " factor=" + number(kernel.factor),
          .operands = {kernel.row, kernel.row},
          .results = {kernel.parameters, kernel.parameters},
          .reduction = {Reduction::sum, Reduction::sum},
          .suffixes = {".mean", ".variance"},
          .wide_results = {0, 1}};
}

Signature signature(const NormBlend& kernel, Instance /*instance*/) {
  return {.kind = "norm_blend",
          .attributes = attributes(kernel.n),
          .operands = {kernel.row, kernel.row, kernel.parameters, kernel.parameters, ""},
          .results = {kernel.row, kernel.row},
          .suffixes = {".sum", ".square_sum"},
          .wide_results = {0, 1}};
}

}  // namespace alpa::operators
