#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

const Dims kProbabilities = "bsx";
const Dims kChoices = "bsk";
const Dims kTokens = "bse";
const Dims kSlots = "xbce";

std::string attributes(const RouteAttributes& route) {
  return "top_k=" + std::to_string(route.top_k) + " capacity=" + std::to_string(route.capacity);
}

std::string gated_text(bool gated) { return gated ? "gated" : ""; }

}  // namespace

Signature signature(const Route& kernel, Instance /*instance*/) {
  return {.kind = "route",
          .attributes = attributes(kernel.route),
          .operands = {kProbabilities},
          .results = {kChoices, kChoices, kChoices, "bx"},
          .whole = "sxk",
          .suffixes = {".expert", ".slot", ".gate", ".density"},
          .wide_results = {3},
          .extent = {{'k', kernel.route.top_k}},
          .integer_results = {0, 1}};
}

void derive(const Route& kernel, Backward& backward) {
  if (!backward.state(2).exists()) return;
  const Tensor x = backward.tensor(backward.operand(0));
  backward.give(0, backward.add("input", RouteGradient{kernel.route},
                                {backward.operand(0), backward.result(0), backward.gradient(2)},
                                {.dims = {x.dims}}));
}

Signature signature(const RouteGradient& kernel, Instance /*instance*/) {
  return {.kind = "route_gradient",
          .attributes = attributes(kernel.route),
          .operands = {kProbabilities, kChoices, kChoices},
          .results = {kProbabilities},
          .linear = {{2}},
          .whole = "sxk",
          .statistics = {2},
          .integer_operands = {1},
          .extent = {{'k', kernel.route.top_k}}};
}

Signature signature(const Dispatch& kernel, Instance /*instance*/) {
  Signature s{.kind = "dispatch",
              .attributes = gated_text(kernel.gated),
              .operands = {kTokens, kChoices, kChoices},
              .results = {kSlots},
              .linear = {{0}},
              .whole = "skc",
              .integer_operands = {1, 2}};
  if (!kernel.gated) return s;
  s.operands.push_back(kChoices);
  s.linear.push_back({3});
  s.statistics = {3};
  return s;
}

// What goes to the slots comes back from them: dispatch and combine are each other's transpose.
void derive(const Dispatch& kernel, Backward& backward) {
  if (kernel.gated) no_derivative(backward);
  const Tensor x = backward.tensor(backward.operand(0));
  backward.give(0, backward.add("input", Combine{},
                                {backward.gradient(0), backward.operand(1), backward.operand(2)},
                                {.dims = {x.dims}}));
}

Signature signature(const Combine& kernel, Instance /*instance*/) {
  Signature s{.kind = "combine",
              .attributes = gated_text(kernel.gated),
              .operands = {kSlots, kChoices, kChoices},
              .results = {kTokens},
              .reduction = {Reduction::sum},
              .linear = {{0}},
              .whole = "skc",
              .integer_operands = {1, 2}};
  if (!kernel.gated) return s;
  s.operands.push_back(kChoices);
  s.linear.push_back({3});
  s.statistics = {3};
  return s;
}

void derive(const Combine& kernel, Backward& backward) {
  const TensorId dy = backward.gradient(0);
  const TensorId expert = backward.operand(1), slot = backward.operand(2);
  if (backward.wanted(0)) {
    std::vector<TensorId> operands{dy, expert, slot};
    if (kernel.gated) operands.push_back(backward.operand(3));
    const Tensor y = backward.tensor(backward.operand(0));
    backward.give(0, backward.add("slots", Dispatch{kernel.gated}, operands,
                                  {.shapes = {y.shape}, .dims = {y.dims}}));
  }
  if (kernel.gated && backward.wanted(3)) {
    backward.give(3, backward.add("gate", GateGradient{}, {dy, backward.operand(0), expert, slot}));
  }
}

Signature signature(const GateGradient& /*kernel*/, Instance /*instance*/) {
  return {.kind = "gate_gradient",
          .operands = {kTokens, kSlots, kChoices, kChoices},
          .results = {kChoices},
          .reduction = {Reduction::sum},
          .linear = {{0}, {1}},
          .whole = "skc",
          .single_results = {0},
          .integer_operands = {2, 3}};
}

}  // namespace alpa::operators
