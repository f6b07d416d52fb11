#include "alpa/base/error.hpp"

#include "operators/operators.hpp"

namespace alpa::operators {
namespace {

struct OptimizerFacts {
  std::string name;
  std::size_t results;  ///< the parameter and its states
};

OptimizerFacts facts(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::sgd:
      return {"sgd", 1};
    case OptimizerKind::momentum:
      return {"momentum", 2};
    case OptimizerKind::adam:
      return {"adam", 3};
    case OptimizerKind::adamw:
      return {"adamw", 3};
    case OptimizerKind::adafactor:
    case OptimizerKind::lamb:
      break;
  }
  check_failed("an optimizer of one operator", SourceLine::here());
}

}  // namespace

Signature signature(const Accumulate& kernel, Instance instance) {
  Signature s{.kind = "accumulate",
              .operands = {kernel.operand},
              .results = {kernel.operand},
              .linear = {{0}}};
  if (instance.operands > 1) s.operands.emplace_back();
  return s;
}

Signature signature(const Update& kernel, Instance /*instance*/) {
  const OptimizerFacts optimizer = facts(kernel.kind);
  return {.kind = "update." + optimizer.name,
          .attributes = "momentum=" + number(kernel.momentum) + " beta1=" + number(kernel.beta1) +
                        " beta2=" + number(kernel.beta2) + " epsilon=" + number(kernel.epsilon) +
                        " weight_decay=" + number(kernel.weight_decay) +
                        " clip_norm=" + number(kernel.clip_norm) +
                        " learning_rate_factor=" + number(kernel.learning_rate_factor),
          .operands = {kernel.operand, "", "", ""},
          .results = std::vector<Dims>(optimizer.results, kernel.operand)};
}

Signature signature(const LambDirection& kernel, Instance /*instance*/) {
  const Dims& dims = kernel.operand;
  return {.kind = "lamb_direction",
          .attributes = "beta1=" + number(kernel.beta1) + " beta2=" + number(kernel.beta2) +
                        " epsilon=" + number(kernel.epsilon) + " weight_decay=" +
                        number(kernel.weight_decay) + " clip_norm=" + number(kernel.clip_norm),
          .operands = {dims, dims, "", ""},
          .results = {dims, dims, dims}};
}

Signature signature(const SecondMoment& kernel, Instance /*instance*/) {
  return {.kind = "second_moment",
          .attributes = "square=" + std::to_string(static_cast<int>(kernel.square)) +
                        " count=" + number(kernel.count) + " decay=" + number(kernel.decay) +
                        " epsilon=" + number(kernel.epsilon) +
                        " clip_norm=" + number(kernel.clip_norm),
          .operands = {kernel.operand, "", ""},
          .results = {kernel.operand, kernel.operand}};
}

Signature signature(const FactoredDirection& kernel, Instance /*instance*/) {
  Signature s{
      .kind = "factored_direction",
      .attributes = "count=" + number(kernel.count) + " clip_norm=" + number(kernel.clip_norm),
      .operands = {kernel.operand, kernel.rows},
      .results = {kernel.operand}};
  if (!kernel.columns.empty()) {
    s.operands.push_back(kernel.columns);
    s.operands.emplace_back();
  }
  s.operands.emplace_back();
  return s;
}

Signature signature(const ApplyDirection& kernel, Instance /*instance*/) {
  const bool clipped = kernel.size == ApplyDirection::Size::clipped;
  Signature s{
      .kind = std::string("apply_direction.") + (clipped ? "clipped" : "trust_ratio"),
      .attributes = "count=" + number(kernel.count) + " threshold=" + number(kernel.threshold) +
                    " relative=" + std::to_string(static_cast<int>(kernel.relative)) + " epsilon=" +
                    number(kernel.epsilon) + " weight_decay=" + number(kernel.weight_decay) +
                    " learning_rate_factor=" + number(kernel.learning_rate_factor),
      .operands = {kernel.operand, "", "", ""},
      .results = {kernel.operand}};
  if (kernel.reads_parameter_norm()) s.operands.emplace_back();
  return s;
}

Signature signature(const RunningAverage& kernel, Instance /*instance*/) {
  return {.kind = "running_average",
          .attributes = "momentum=" + number(kernel.momentum),
          .operands = {kernel.operand, ""},
          .results = {kernel.operand}};
}

Signature signature(const Contribute& /*kernel*/, Instance /*instance*/) {
  return {.kind = "contribute",
          .operands = {""},
          .results = {""},
          .linear = {{0}},
          .wide_results = {0}};
}

}  // namespace alpa::operators
